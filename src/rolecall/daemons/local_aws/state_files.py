"""The files by which shells, SDKs and the agent find the plane and its keys."""

from __future__ import annotations

import shlex

from rolecall.core.secrets import Secret
from rolecall.daemons.local_aws.operations import World
from rolecall.edges.state_dir import StateDir, write_private

PROFILE = "rolecall"
NO_PROXY = "127.0.0.1,localhost,::1,169.254.170.23,[fd00:ec2::23]"
Key = tuple[str, Secret]


def write_state_files(state: StateDir, world: World, *, admin: Key, node: Key) -> None:
    """Write the admin's files and the node's key, each readable by its owner only."""
    write_private(state.credentials, _credentials(PROFILE, admin))
    write_private(state.node_credentials, _credentials("default", node))
    write_private(state.aws_config, f"[profile {PROFILE}]\nregion = {world.region}\n".encode())
    exports = {
        "AWS_ENDPOINT_URL": world.url,
        "AWS_ENDPOINT_URL_STS": world.url,
        "AWS_REGION": world.region,
        "AWS_DEFAULT_REGION": world.region,
        "AWS_CONFIG_FILE": str(state.aws_config),
        "AWS_SHARED_CREDENTIALS_FILE": str(state.credentials),
        "AWS_PROFILE": PROFILE,
        "NO_PROXY": NO_PROXY,
        "ROLECALL_STATE_DIR": str(state.root),
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    # Keys in the environment beat a profile: they would send real credentials to the plane.
    lines.append("unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN")
    write_private(state.env, ("\n".join(lines) + "\n").encode())


def _credentials(profile: str, key: Key) -> bytes:
    key_id, secret = key
    return f"[{profile}]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret.reveal()}\n".encode()
