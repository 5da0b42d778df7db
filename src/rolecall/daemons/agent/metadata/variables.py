"""metadataproxy's environment variables, as flags of ours (legacy-proxies.md §3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from rolecall.daemons.agent.metadata.flags import SOCKET
from rolecall.errors import Misconfigured

Verdict = Literal["same", "better", "ignored"]

VARIABLES: Mapping[str, Verdict] = {
    "HOST": "better",
    "PORT": "same",
    "DEBUG": "better",
    "DOCKER_URL": "better",
    "METADATA_URL": "same",
    "MOCK_API": "same",
    "MOCKED_INSTANCE_ID": "same",
    "DEFAULT_ROLE": "same",
    "DEFAULT_ACCOUNT_ID": "better",
    "AWS_ACCOUNT_MAP": "same",
    "AWS_REGION": "better",
    "ROLE_MAPPING_FILE": "better",
    "ROLE_SESSION_KEY": "same",
    "ROLE_EXPIRATION_THRESHOLD": "ignored",
    "ROLE_REVERSE_LOOKUP": "ignored",
    "HOSTNAME_MATCH_REGEX": "ignored",
    "MESOS_STATE_LOOKUP": "ignored",
    "MESOS_STATE_URL": "ignored",
    "MESOS_STATE_TIMEOUT": "ignored",
    "PATCH_ECS_ALLOWED_HOSTS": "ignored",
    "WORKERS": "ignored",
    "GEVENT_REQUEST_TIMEOUT_MS": "ignored",
    "FORWARDED_ALLOW_IPS": "ignored",
    "LOGGING_CONF_FILE": "ignored",
    "RELOAD": "ignored",
    "GUNICORN_CONFIG": "ignored",
}
"""Every variable of metadataproxy 2.2, and how it is taken; docs/reference/metadataproxy.md says why."""


_NO = ("False", "false", "0", "")


def words_of(environment: Mapping[str, str]) -> list[str]:
    """Return the command line that these variables ask for.

    Raises `Misconfigured` for a port or a socket that is none; what else cannot work is said by who reads the flags.
    """
    get = environment.get
    words = ["serve", "--dialect", "metadataproxy", "--imds-anywhere"]
    words += ["--imds-bind-hosts", get("HOST") or "0.0.0.0", "--imds-port", _port(get("PORT") or "8000")]  # noqa: S104 - its default
    words += ["--verbosity", "debug" if _true(get("DEBUG")) else "info"]
    given = {
        "--imds-upstream": "METADATA_URL",
        "--default-role": "DEFAULT_ROLE",
        "--default-account-id": "DEFAULT_ACCOUNT_ID",
        "--account-map": "AWS_ACCOUNT_MAP",
        "--role-session-key": "ROLE_SESSION_KEY",
        "--role-mapping-file": "ROLE_MAPPING_FILE",
    }
    words += [f"{flag}={environment[name]}" for flag, name in given.items() if get(name)]
    if get("DOCKER_URL"):
        words.append(f"--docker-socket={_socket(environment['DOCKER_URL'])}")
    if _true(get("MOCK_API")):
        words.append(f"--mock-instance={get('MOCKED_INSTANCE_ID') or 'mockedid'}")
    return words


def ignored(environment: Mapping[str, str]) -> list[str]:
    """Return the variables that are set and change nothing."""
    return [name for name, verdict in VARIABLES.items() if verdict == "ignored" and _true(environment.get(name))]


def _true(text: str | None) -> bool:
    """Whether metadataproxy takes a text as true: all but a few."""
    return (text or "") not in _NO


def _port(text: str) -> str:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:6]) <= 65_535:
        raise Misconfigured(f"PORT {text[:80]!r} is not a port", hint="use 1 to 65535")
    return text


def _socket(text: str) -> str:
    """Return the path of a Unix socket's URL, which has two slashes or three."""
    scheme, _, path = text.partition("://")
    if scheme not in ("unix", "http+unix") or not path.strip("/"):
        raise Misconfigured(
            f"DOCKER_URL {text[:80]!r} is no Unix socket",
            hint=f"write unix://{SOCKET}; an engine over TCP would be believed whoever answers",
        )
    return "/" + path.lstrip("/")
