"""The files by which shells, SDKs and the agent find the plane and its keys."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rolecall.core.secrets import Secret
from rolecall.daemons.local_aws.operations import World
from rolecall.edges.state_dir import StateDir, write_private

PROFILE = "rolecall"
NO_PROXY = "127.0.0.1,localhost,::1,169.254.170.23,[fd00:ec2::23]"
# Keys in the environment beat a profile, and so would roles, endpoints of another kind, and botocore's older name of
# the profile. FIPS and dual-stack endpoints exclude an endpoint of one's own.
CLEARED = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_PROFILE",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_ENDPOINT_URL_EKS",
    "AWS_ENDPOINT_URL_EKS_AUTH",
    "AWS_ENDPOINT_URL_IAM",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)
Key = tuple[str, Secret]


@dataclass(frozen=True, slots=True)
class Urls:
    """Where the plane and its metadata service are."""

    plane: str
    imds: str


def write_state_files(state: StateDir, world: World, *, urls: Urls, admin: Key, node: Key) -> None:
    """Write the admin's files and the node's key, each readable by its owner only."""
    write_private(state.credentials, _credentials(PROFILE, admin))
    write_private(state.node_credentials, _credentials("default", node))
    write_private(state.aws_config, f"[profile {PROFILE}]\nregion = {world.region}\n".encode())
    write_private(state.env, shell_script(state, urls, region=world.region).encode())


def write_clusters(state: StateDir, clusters: Mapping[str, str]) -> None:
    """Write issuer → cluster name, by which the agent knows whom to ask about a token."""
    write_private(state.clusters, json.dumps(dict(clusters)).encode())


def no_proxy(environment: Mapping[str, str], *more: str) -> str:
    """Return the NO_PROXY of an environment, in either case, and loopback, the agent's addresses and `more`.

    ``*`` alone means everything, and only alone.
    """
    hosts = ",".join((environment.get("NO_PROXY", ""), environment.get("no_proxy", ""), NO_PROXY, *more)).split(",")
    named = list(dict.fromkeys(filter(None, map(str.strip, hosts))))
    return "*" if "*" in named else ",".join(named)


def shell_script(state: StateDir, urls: Urls, *, region: str) -> str:
    """Return what a POSIX shell evaluates to use the plane, as often as it likes. Its own NO_PROXY is kept.

    Where its PATH does not lead to the programs that were installed beside this one (rolecall, and aws in a
    checkout), it does after; the shell's own come first.
    """
    programs = shlex.quote(str(Path(sys.executable).parent))
    variables = shell_environment(state, urls, region=region)
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    return f"""{exports}unset {" ".join(CLEARED)}
case ",${{NO_PROXY-}},${{no_proxy-}}," in *',*,'*) NO_PROXY='*' ;; esac
case ",${{NO_PROXY-}}," in
  *',*,'* | *',{NO_PROXY},'*) ;;
  *) NO_PROXY="${{NO_PROXY:+$NO_PROXY,}}${{no_proxy:+$no_proxy,}}{NO_PROXY}" ;;
esac
export NO_PROXY no_proxy="$NO_PROXY"
case ":$PATH:" in *:{programs}:*) ;; *) export PATH="$PATH":{programs} ;; esac
"""


def shell_environment(state: StateDir, urls: Urls, *, region: str) -> dict[str, str]:
    """Return the variables that make AWS clients use the plane, as its admin; `no_proxy` is another matter."""
    return {
        "AWS_ENDPOINT_URL": urls.plane,
        "AWS_ENDPOINT_URL_STS": urls.plane,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": urls.imds,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_CONFIG_FILE": str(state.aws_config),
        "AWS_SHARED_CREDENTIALS_FILE": str(state.credentials),
        "AWS_PROFILE": PROFILE,
        "ROLECALL_STATE_DIR": str(state.root),
    }


def _credentials(profile: str, key: Key) -> bytes:
    key_id, secret = key
    return f"[{profile}]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret.reveal()}\n".encode()
