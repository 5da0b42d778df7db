"""The files by which shells, SDKs and the agent find the plane and its keys."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from rolecall.core.secrets import Secret
from rolecall.daemons.local_aws.operations import World
from rolecall.edges.state_dir import StateDir, write_private

PROFILE = "rolecall"
NO_PROXY = "127.0.0.1,localhost,::1,169.254.170.23,[fd00:ec2::23]"
# Keys in the environment beat a profile, and so would roles and endpoints of another kind.
CLEARED = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_ENDPOINT_URL_EKS",
    "AWS_ENDPOINT_URL_EKS_AUTH",
    "AWS_ENDPOINT_URL_IAM",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)
Key = tuple[str, Secret]


def write_state_files(state: StateDir, world: World, *, admin: Key, node: Key) -> None:
    """Write the admin's files and the node's key, each readable by its owner only."""
    write_private(state.credentials, _credentials(PROFILE, admin))
    write_private(state.node_credentials, _credentials("default", node))
    write_private(state.aws_config, f"[profile {PROFILE}]\nregion = {world.region}\n".encode())
    exports = shell_environment(state, url=world.url, region=world.region)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    lines.append(f"unset {' '.join(CLEARED)}")
    write_private(state.env, ("\n".join(lines) + "\n").encode())


def write_clusters(state: StateDir, clusters: Mapping[str, str]) -> None:
    """Write issuer → cluster name, by which the agent knows whom to ask about a token."""
    write_private(state.clusters, json.dumps(dict(clusters)).encode())


def shell_environment(state: StateDir, *, url: str, region: str) -> dict[str, str]:
    """Return the variables that make AWS clients of a shell use the plane, as its admin."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ENDPOINT_URL_STS": url,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_CONFIG_FILE": str(state.aws_config),
        "AWS_SHARED_CREDENTIALS_FILE": str(state.credentials),
        "AWS_PROFILE": PROFILE,
        "NO_PROXY": NO_PROXY,
        "ROLECALL_STATE_DIR": str(state.root),
    }


def _credentials(profile: str, key: Key) -> bytes:
    key_id, secret = key
    return f"[{profile}]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret.reveal()}\n".encode()
