"""The metadata service's door: bytes in, what is asked for out, or the reply that refuses it.

The rules of EC2's own service (legacy-proxies.md §2.1), and stricter where its looseness was a hole:

- one canonical path is compared, and a path that has none is refused (`path.py`);
- GET and HEAD read, PUT asks for a token, nothing else is taken;
- a Host that is not the service's is refused: a web page that was rebound here by DNS still sends its own name;
- what was forwarded for somebody else is given no token, and without a token nothing at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from rolecall.core.exchange import Reply, Request
from rolecall.core.secrets import Secret
from rolecall.errors import BadInput
from rolecall.mechanisms.imds import documents, session_token, wire
from rolecall.mechanisms.imds.path import canonical

What = Literal["listing", "credentials", "info", "document", "directory", "other"]
HOSTS = frozenset({"169.254.169.254", "fd00:ec2::254", "instance-data", "instance-data.ec2.internal"})

_TTL, _TOKEN = "x-aws-ec2-metadata-token-ttl-seconds", "x-aws-ec2-metadata-token"
_VERSION = re.compile(r"latest|1\.0|20[0-9]{2}-[0-9]{2}-[0-9]{2}")
_HOST = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::[0-9]*)?")
_ROLES = "meta-data/iam/security-credentials"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for at the metadata service. Nothing in it is believed yet.

    `role` is the role's name as the client wrote it, decoded; `document` a name of the allow-list, or a directory
    that holds some; `slash` says whether the path ended with one. `path` is for a message only: it is the client's.
    """

    what: What
    path: str
    version: str = "latest"
    role: str = ""
    document: str = ""
    slash: bool = False


@dataclass(frozen=True, slots=True)
class Gate:
    """How tokens are given and demanded. `key` signs them; `required` shuts version 1 out.

    `source` is who they are good for: the caller's address together with what is known to be there, such as the pod's
    UID, so that a token does not pass to the next pod at that address. `hosts` are the names of the service.
    """

    key: Secret
    source: str
    required: bool = False
    hosts: Collection[str] = HOSTS


def parse(request: Request, gate: Gate, *, allowed: Collection[str], now: float) -> Asked | Reply:
    """Return what is asked for, or the reply that refuses it: a page of the service, or a token.

    `allowed` are names of `documents.DOCUMENTS`; whatever else is named comes back as ``other``.
    """
    try:
        path = canonical(request.target)
    except BadInput:
        return wire.error(400, "path")
    if not _is_here(request, gate.hosts):
        return wire.error(403, "host")
    version, _, rest = path[1:].partition("/")
    if rest.rstrip("/") == "api/token":
        return _token(request, path, gate, now)
    if request.method not in ("GET", "HEAD"):
        return wire.error(405, "method", (("allow", "GET, HEAD"),))
    refused = _not_let_in(request, gate, now)
    return refused or _asked(path, version, rest, allowed)


def _is_here(request: Request, hosts: Collection[str]) -> bool:
    """Whether the request names this service; only a client of HTTP/1.0 names nobody, and no browser is one."""
    named = request.header("host") or ""
    found = _HOST.fullmatch(named)
    return not named or (found is not None and (found[1] or found[2] or "").lower() in hosts)


def _token(request: Request, path: str, gate: Gate, now: float) -> Reply:
    """Return a session token, or why there is none: each status is the one that SDKs know from EC2."""
    if request.method != "PUT":
        return wire.error(405, "method", (("allow", "PUT"),))
    if path != "/latest/api/token":
        return wire.error(403, "token-path")
    if request.header("x-forwarded-for") is not None:
        return wire.error(403, "forwarded")
    asked = request.header_values(_TTL)
    ttl = session_token.ttl_of(asked[0]) if len(asked) == 1 else None
    if ttl is None:
        return wire.error(400, "token-ttl")
    return wire.token(session_token.mint(gate.key, gate.source, now=now, ttl=ttl).reveal().encode(), ttl)


def _not_let_in(request: Request, gate: Gate, now: float) -> Reply | None:
    shown = request.header_values(_TOKEN)
    if not shown:
        if gate.required:
            return wire.error(401, "no-token")
        return wire.error(403, "forwarded") if request.header("x-forwarded-for") is not None else None
    if len(shown) > 1 or session_token.seconds_left(gate.key, gate.source, shown[0], now=now) <= 0:
        return wire.error(401, "bad-token")
    return None


def let_in_until(request: Request, gate: Gate, *, now: float) -> float:
    """Return when a request that was let in would be no longer: with its token; without one, never."""
    shown = request.header_values(_TOKEN)
    return now + session_token.seconds_left(gate.key, gate.source, shown[0], now=now) if shown else math.inf


def _asked(path: str, version: str, rest: str, allowed: Collection[str]) -> Asked:
    slash = path.endswith("/")
    name = rest.removesuffix("/")
    if version and not _VERSION.fullmatch(version):
        return Asked("other", path, version, slash=slash)
    if name == _ROLES:
        return Asked("listing", path, version, slash=slash)
    if rest.startswith(f"{_ROLES}/"):
        return Asked("credentials", path, version, role=rest.removeprefix(f"{_ROLES}/"), slash=slash)
    if name == "meta-data/iam/info":
        return Asked("info", path, version, slash=slash)
    if rest in allowed and rest in documents.DOCUMENTS:
        return Asked("document", path, version, document=rest)
    if not version or documents.entries(name, allowed):
        return Asked("directory", path, version, document=name, slash=slash)
    return Asked("other", path, version, slash=slash)


def render_directory(asked: Asked, allowed: Collection[str]) -> Reply:
    """Return what a directory holds of the allowed documents; the root names the version there is."""
    return wire.listing(documents.entries(asked.document, allowed) if asked.version else ["latest"])
