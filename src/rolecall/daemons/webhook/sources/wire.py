"""The shapes of what AWS's webhook reads: the file of identities, and its ConfigMap (aws-pod-identity.md §2.4)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from rolecall.core.names import ClusterName, Namespace
from rolecall.daemons.webhook.rules import ConfigEntry
from rolecall.daemons.webhook.sources.table import Key
from rolecall.errors import BadInput, Upstream

MOST = 100_000
"""Entries of one file or map; a larger one is refused whole."""
_LONGEST_NAME = 253


class _Identity(msgspec.Struct, rename="camel"):
    namespace: str = ""
    service_account: str = ""


class _Identities(msgspec.Struct):
    identities: list[_Identity] | None = None


def decode_identities(text: bytes) -> tuple[list[Key], list[str]]:
    """Return who has an association, and what is wrong with entries that were left out.

    An empty file names nobody. Raises `BadInput` for what is no such file.
    """
    if not text.strip():
        return [], []
    try:
        found = msgspec.json.decode(text, type=_Identities).identities or []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise BadInput(f"it is no file of identities: {_shown(fault)}") from None
    if len(found) > MOST:
        raise BadInput(f"it has more than {MOST} identities")
    good, faults = [], []
    for number, one in enumerate(found):
        why = _fault_in(one.namespace, one.service_account)
        if why:
            faults.append(f"identities[{number}]: {why}")
        else:
            good.append((one.namespace, one.service_account))
    return good, faults


def decode_config(text: str) -> tuple[list[tuple[Key, ConfigEntry]], list[str]]:
    """Return the roles of a ConfigMap's ``config``, and what is wrong with entries that were left out.

    Raises `BadInput` where it is no JSON object. Names of members are read as Go reads them: whatever their case.
    """
    try:
        found = msgspec.json.decode(text) if text.strip() else {}
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        raise BadInput(f"its config is no JSON: {_shown(fault)}") from None
    if not isinstance(found, dict) or len(found) > MOST:
        raise BadInput(f"its config is no JSON object of at most {MOST} entries")
    good, faults = [], []
    for name, value in found.items():
        try:
            good.append(_entry(name, value))
        except BadInput as fault:
            faults.append(f"{name[:80]!r}: {fault.message}")
    return good, faults


def _entry(name: str, value: Any) -> tuple[Key, ConfigEntry]:
    namespace, slash, account = name.partition("/")
    why = _fault_in(namespace, account) if slash else "the key is not namespace/serviceaccount"
    if why:
        raise BadInput(why)
    if not isinstance(value, dict):
        raise BadInput("the value is no object")
    members = {key.lower(): one for key, one in value.items()}
    role = _member(members, "rolearn", str)
    if not role:
        raise BadInput("RoleARN is missing")
    return (namespace, account), ConfigEntry(
        role_arn=role,
        audience=_member(members, "audience", str) or None,
        sts_regional=_member(members, "useregionalsts", bool),
        expiration=_member(members, "tokenexpiration", int) or None,
    )


def _member(members: dict[str, Any], name: str, kind: type) -> Any:
    found = members.get(name)
    if found is not None and type(found) is not kind:
        raise BadInput(f"{name} is no {kind.__name__}")
    return found


def _fault_in(namespace: str, account: str) -> str:
    if not Namespace.pattern.fullmatch(namespace.replace("*", "x")) or len(namespace) > Namespace.longest:
        return f"{namespace[:80]!r} is no namespace"
    if not account or len(account) > _LONGEST_NAME or "/" in account:
        return f"{account[:80]!r} is no service account"
    return ""


def _shown(fault: Exception) -> str:
    return str(fault)[:200] if isinstance(fault, msgspec.ValidationError) else "it is not JSON"


class _Association(msgspec.Struct, rename="camel"):
    association_id: str
    namespace: str
    service_account: str


class _AssociationPage(msgspec.Struct, rename="camel"):
    associations: list[_Association]
    next_token: str | None = None


def associations_path(cluster: ClusterName) -> str:
    """Return the path of ListPodIdentityAssociations (EKS API Reference)."""
    return f"/clusters/{quote(cluster)}/pod-identity-associations"


def associations_query(account: Key | None, after: str) -> str:
    """Return the query for a page: of all, or of one service account; `after` is what the former page ended with."""
    query = {"maxResults": "100"}
    if account is not None:
        query |= {"namespace": account[0], "serviceAccount": account[1]}
    return urlencode(query | ({"nextToken": after} if after else {}))


def decode_associations(text: bytes) -> tuple[list[tuple[Key, str]], str]:
    """Return the associations of a page of ListPodIdentityAssociations by their service accounts, and what is after it.

    Raises `Upstream` for what is no such page.
    """
    try:
        page = msgspec.json.decode(text, type=_AssociationPage)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Upstream("the list of associations cannot be read") from None
    return [((one.namespace, one.service_account), one.association_id) for one in page.associations], (
        page.next_token or ""
    )
