"""The bodies of the older proxies, and the JSON in their annotations (legacy-proxies.md §3.4, §4.4, §5.3, §5.4)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rolecall.core.exchange import Headers, Reply
from rolecall.core.source import Issued
from rolecall.mechanisms.imds import wire as imds

_PLAIN: Headers = (("content-type", "text/plain; charset=utf-8"),)
_NOSNIFF = ("x-content-type-options", "nosniff")
_JSON: Headers = (("content-type", "application/json"),)
_UNSTORED = ("cache-control", "no-store")
METADATAPROXY_LASTS = 3600.0
"""Seconds before the end that metadataproxy calls the last update, whenever that was."""


def pattern_list(text: str) -> tuple[str, ...]:
    """Return the texts of kube2iam's annotation, a JSON list of them; nothing for anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    good = isinstance(found, list) and all(isinstance(one, str) for one in found)
    return tuple(found) if good else ()


def text(status: int, body: str, headers: Headers = ()) -> Reply:
    """Return text as Go writes it."""
    return Reply(status, body.encode("utf-8", "replace"), (*_PLAIN, *headers))


def error(status: int, sentence: str, reason: str) -> Reply:
    """Return an error as Go's http.Error writes it; `reason` is the word that it is counted under."""
    return Reply(status, f"{sentence}\n".encode("utf-8", "replace"), (*_PLAIN, _NOSNIFF), reason)


def nothing(status: int, reason: str) -> Reply:
    """Return an answer without a body, as Flask writes it."""
    return Reply(status, b"", (("content-type", "text/html; charset=utf-8"),), reason)


def redirect(status: int, path: str) -> Reply:
    """Return the way to the same path with a slash; it names no host, for the client's is not believed."""
    return Reply(status, b"", (("location", f"{path}/"), *_PLAIN), "redirect")


def credentials(issued: Issued, order: Sequence[str], updated: float, headers: Headers) -> Reply:
    """Return a credentials document with its members in this order, as one line (Go's encoder, Flask's jsonify)."""
    found = imds.credential_members(issued, updated)
    return _document({name: found[name] for name in order}, headers)


def info(issued: Issued, headers: Headers) -> Reply:
    """Return metadataproxy's ``iam/info``: the session in the place of an instance profile."""
    updated = issued.credentials.expires_at - METADATAPROXY_LASTS
    found = imds.info_members(issued.assumed_role_arn, issued.assumed_role_id, updated)
    return _document(dict(sorted(found.items())), headers)


def kube2iam_health(host: str, instance: str) -> Reply:
    """Return what kube2iam says of itself at /healthz."""
    return _document({"hostIP": host, "instanceId": instance}, _JSON)


def kube2iam_store(
    namespaces: Mapping[str, str], roles: Mapping[str, str], permitted: Mapping[str, Sequence[str]]
) -> Reply:
    """Return what kube2iam knows, at /debug/store: namespace and role by address, patterns by namespace."""
    found = {"namespaceByIP": namespaces, "rolesByIP": roles, "rolesByNamespace": permitted}
    return _document(found, _JSON)


def instance_profile(document: bytes) -> str:
    """Return the ARN of the instance profile in ``iam/info``; empty where it is no such document."""
    try:
        found = json.loads(document)
    except (ValueError, RecursionError):
        return ""
    arn = found.get("InstanceProfileArn") if isinstance(found, dict) else None
    return arn if isinstance(arn, str) else ""


def _document(members: Mapping[str, object], headers: Headers) -> Reply:
    body = json.dumps(members, separators=(",", ":"), ensure_ascii=False)
    for letter in "&<>":  # as Go's encoder writes them
        body = body.replace(letter, f"\\u{ord(letter):04x}")
    return Reply(200, f"{body}\n".encode(), (*headers, _UNSTORED))
