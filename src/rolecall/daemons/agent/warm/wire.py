"""What is written for the next agent, as bytes: who may read it, one line for each credential, and a seal.

    rolecall-warm-restart 1 {"cluster":…,"region":…}
    {"token":"<SHA-256 of the pod's token>", …}
    end <how many> <SHA-256 of all before>

There is no pod's token in it: an entry is of use to whoever has the token already. The seal finds what was cut or
damaged, it keeps nobody out: the file's owner and mode do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from rolecall.core.credentials import Credentials
from rolecall.core.names import AccountId, Namespace, ServiceAccountName
from rolecall.core.secrets import Secret
from rolecall.core.source import Issued, Subject
from rolecall.edges.cache_entry import Kept
from rolecall.errors import BadName

VERSION = b"rolecall-warm-restart 1 "
_END = re.compile(rb"end ([0-9]{1,9}) ([0-9a-f]{64})\n")
_LATEST = 253_402_300_800.0  # the year 9999


class NotReadable(Exception):
    """It is not what an agent like this one wrote. The message says why, and shows nothing of it."""


@dataclass(frozen=True, slots=True)
class Reader:
    """The agent that it is for: credentials of one cluster are none of another's."""

    cluster: str
    region: str
    endpoint: str
    node: str


class _Line(msgspec.Struct):
    token: str
    ends_at: float
    expires_at: float
    access_key_id: str
    secret_access_key: str
    session_token: str
    account: str
    role: str
    role_id: str
    association_arn: str
    association_id: str
    namespace: str | None = None
    service_account: str | None = None


def encode(reader: Reader, entries: Iterable[Kept]) -> Iterator[bytes]:
    """Yield the parts of the file, a credential at a time: there is never a second copy of all of them."""
    sealed, count = sha256(), 0
    head = VERSION + msgspec.json.encode(reader) + b"\n"
    sealed.update(head)
    yield head
    for count, kept in enumerate(entries, start=1):  # noqa: B007 - the last number is how many
        line = msgspec.json.encode(_line(kept)) + b"\n"
        sealed.update(line)
        yield line
    yield f"end {count} {sealed.hexdigest()}\n".encode()


def decode(reader: Reader, found: bytes) -> list[Kept]:
    """Return the entries; raises `NotReadable` for anything but a whole file of this version and for this reader."""
    if not found.startswith(VERSION):
        raise NotReadable("it is of another version, or no such file")
    body, _, _ = found[:-1].rpartition(b"\n")
    body += b"\n"
    end = _END.fullmatch(found[len(body) :])
    if end is None or sha256(body).hexdigest().encode() != end[2]:
        raise NotReadable("it is damaged, or not whole")
    head, *lines = body.splitlines()
    try:
        written_for = msgspec.json.decode(head[len(VERSION) :], type=Reader)
        entries = [_kept(msgspec.json.decode(line, type=_Line)) for line in lines]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, BadName):
        raise NotReadable("it cannot be read") from None
    if written_for != reader:
        raise NotReadable("it was written for another cluster, region, endpoint or node")
    if len(entries) != int(end[1]):
        raise NotReadable("it is not whole")
    return entries


def _line(kept: Kept) -> _Line:
    issued, credentials = kept.issued, kept.issued.credentials
    return _Line(
        token=kept.token.hex(),
        ends_at=kept.ends_at,
        expires_at=credentials.expires_at,
        access_key_id=credentials.access_key_id,
        secret_access_key=credentials.secret_access_key.reveal(),
        session_token=credentials.session_token.reveal(),
        account=str(credentials.account),
        role=issued.assumed_role_arn,
        role_id=issued.assumed_role_id,
        association_arn=issued.association_arn,
        association_id=issued.association_id,
        namespace=str(issued.subject.namespace) if issued.subject else None,
        service_account=str(issued.subject.service_account) if issued.subject else None,
    )


def _kept(line: _Line) -> Kept:
    token = bytes.fromhex(line.token)
    if len(token) != sha256().digest_size or not 0 < line.ends_at <= line.expires_at < _LATEST:
        raise ValueError
    credentials = Credentials(
        line.access_key_id,
        Secret(line.secret_access_key),
        Secret(line.session_token),
        line.expires_at,
        AccountId.parse(line.account),
    )
    subject = None
    if line.namespace is not None and line.service_account is not None:
        subject = Subject(Namespace.parse(line.namespace), ServiceAccountName.parse(line.service_account))
    issued = Issued(credentials, line.role, line.role_id, subject, line.association_arn, line.association_id)
    return Kept(token, issued, line.ends_at)
