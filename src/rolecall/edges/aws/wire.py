"""What those who issue the agent its own credentials say, as bytes: IMDS, a container's provider, STS.

Sources: EC2 User Guide (instance metadata), AWS SDKs and Tools Reference Guide (container credentials), STS API
Reference (AssumeRoleWithWebIdentity, AssumeRole, Errors). No error here quotes what it could not read: it may be a
secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

import msgspec

from rolecall.core.credentials import Credentials
from rolecall.core.grant import Hop
from rolecall.core.names import AccountId, Arn, RoleArn
from rolecall.core.secrets import Secret
from rolecall.core.source import Issued
from rolecall.edges.aws.node_credentials import Lease, NoNodeCredentials, signing_key
from rolecall.errors import BadName, Misconfigured, Upstream

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LONGEST_TOKEN = 20_000
"""Characters of a web identity token that STS takes (STS API Reference)."""

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)", re.ASCII)
_YEAR_10000 = 253_402_300_800  # nobody could write such a moment down
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9._]{0,127}")
_STS = "{https://sts.amazonaws.com/doc/2011-06-15/}"

_Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Keys(msgspec.Struct, rename="pascal"):
    access_key_id: _Text
    secret_access_key: _Text
    token: _Text
    expiration: _Text


class _Code(msgspec.Struct, rename="pascal"):
    code: str = "Success"


class _Identity(msgspec.Struct, rename="camel"):
    account_id: str


def decode_keys(body: bytes, *, where: str) -> Lease:
    """Return the credentials of a 200 of IMDS or of a container's provider; raises `NoNodeCredentials`.

    IMDS answers 200 also where it has none, with the reason in ``Code``.
    """
    try:
        code = msgspec.json.decode(body, type=_Code).code
        if code != "Success":
            shown = code if _CODE.fullmatch(code) else "unreadable"
            raise NoNodeCredentials(f"{where} has no credentials for the agent: its code is {shown}")
        found = msgspec.json.decode(body, type=_Keys)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _unreadable(where) from None
    return _lease(found.access_key_id, found.secret_access_key, found.token, found.expiration, where=where)


def decode_identity_account(body: bytes) -> str | None:
    """Return the account of an instance's identity document; None where it has none that is one."""
    try:
        return AccountId.parse(msgspec.json.decode(body, type=_Identity).account_id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadName):
        return None


def encode_web_identity(role: RoleArn, session_name: str, token: Secret) -> bytes:
    """Return the body of AssumeRoleWithWebIdentity, a form."""
    return urlencode(
        {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": str(role),
            "RoleSessionName": session_name,
            "WebIdentityToken": token.reveal(),
        }
    ).encode("ascii")


def decode_web_identity(body: bytes, *, where: str) -> Lease:
    """Return the credentials of a 200 of STS; raises `NoNodeCredentials`."""
    root = _read_xml(body)
    path = "AssumeRoleWithWebIdentityResult/Credentials".replace("/", f"/{_STS}")
    found = None if root is None else root.find(_STS + path)
    if root is None or root.tag != f"{_STS}AssumeRoleWithWebIdentityResponse" or found is None:
        raise _unreadable(where)
    return _lease(
        *(_text(found, name) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")),
        where=where,
    )


def encode_assume_role(hop: Hop) -> bytes:
    """Return the body of AssumeRole, a form: all that the hop says, and nothing else."""
    session = hop.session
    members = {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": str(hop.role),
        "RoleSessionName": session.name,
        "DurationSeconds": str(session.duration),
    }
    for at, (key, value) in enumerate(session.tags.items(), 1):
        members |= {f"Tags.member.{at}.Key": key, f"Tags.member.{at}.Value": value}
    for at, key in enumerate(sorted(session.transitive_keys), 1):
        members[f"TransitiveTagKeys.member.{at}"] = key
    if session.external_id is not None:
        members["ExternalId"] = session.external_id
    if session.source_identity is not None:
        members["SourceIdentity"] = session.source_identity
    return urlencode(members).encode("ascii")


def decode_assume_role(body: bytes, *, where: str) -> Issued:
    """Return what a 200 of AssumeRole issued; the account is the session's. Raises `Upstream`."""
    root = _read_xml(body)
    result = None if root is None else root.find(f"{_STS}AssumeRoleResult")
    found = None if result is None else result.find(f"{_STS}Credentials")
    user = None if result is None else result.find(f"{_STS}AssumedRoleUser")
    if root is None or root.tag != f"{_STS}AssumeRoleResponse" or found is None or user is None:
        raise Upstream(f"{where} answered AssumeRole with something that is not credentials")
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
    try:
        lease = _lease(*(_text(found, name) for name in names), where=where)
        account = AccountId.parse(Arn.parse(_text(user, "Arn")).account)
    except (BadName, NoNodeCredentials):
        raise Upstream(f"{where} answered AssumeRole with something that is not credentials") from None
    assert lease.key.session_token is not None, "a lease has a session token"
    credentials = Credentials(
        lease.key.access_key_id, lease.key.secret, lease.key.session_token, lease.expires_at, account
    )
    metadata = root.find(f"{_STS}ResponseMetadata")
    request_id = "" if metadata is None else _text(metadata, "RequestId")
    return Issued(credentials, _text(user, "Arn"), _text(user, "AssumedRoleId"), request_id=request_id[:128])


def decode_sts_error(status: int, body: bytes) -> Mapping[str, str]:
    """Return ``code`` and ``message`` of an answer that is not 200; without a body that can be read, the status."""
    root = _read_xml(body)
    error = None if root is None or root.tag != f"{_STS}ErrorResponse" else root.find(f"{_STS}Error")
    code = _text(error, "Code") if error is not None else ""
    if error is None or not _CODE.fullmatch(code):
        return {"code": f"HTTP {status}", "message": ""}
    message = "".join(letter for letter in _text(error, "Message")[:500] if letter.isprintable())
    return {"code": code, "message": message}


def _read_xml(body: bytes) -> Element | None:
    """Return the root of a document; None for what is none.

    A document with a declaration of types or entities, or in another encoding, is not read at all: STS sends
    neither, and with neither there is nothing that could grow.
    """
    from xml.etree import ElementTree

    try:
        text = body.decode("utf-8")
        if "<!" in text or "\0" in text or re.search(r"encoding\s*=\s*[\"'](?!utf-8[\"'])", text[:200], re.IGNORECASE):
            return None
        return ElementTree.fromstring(text.encode())  # noqa: S314 - declarations were refused above
    except (UnicodeDecodeError, ElementTree.ParseError, RecursionError):
        return None


def _text(parent: Element, name: str) -> str:
    found = parent.findall(_STS + name)
    return (found[0].text or "").strip() if len(found) == 1 and not len(found[0]) else ""


def _lease(key_id: str, secret: str, token: str, expiration: str, *, where: str) -> Lease:
    try:
        if not token or not _MOMENT.fullmatch(expiration):
            raise ValueError
        expires_at = datetime.fromisoformat(expiration).timestamp()
        if expires_at >= _YEAR_10000:
            raise ValueError
        return Lease(signing_key(key_id, secret, token, where=where, hint=""), expires_at)
    except (ValueError, OverflowError, Misconfigured):
        raise _unreadable(where) from None


def _unreadable(where: str) -> NoNodeCredentials:
    return NoNodeCredentials(f"{where} answered with something that is not credentials")
