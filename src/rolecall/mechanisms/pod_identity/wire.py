"""EKS Auth's one operation, AssumeRoleForPodIdentity, as bytes: the agent's end and the server's.

Source: the EKS Auth API (service ``eks-auth``, 2023-11-26, rest-json)::

    POST /clusters/{clusterName}/assume-role-for-pod-identity   {"token": "<service-account token>"}

Unknown fields are passed over at both ends: AWS adds some (``eksNodeName``, ``workloadIdentityProviderArn``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from sys import intern
from typing import Annotated
from urllib.parse import unquote

import msgspec

from rolecall.core.credentials import Credentials
from rolecall.core.names import AccountId, Arn, ClusterName, Namespace, ServiceAccountName
from rolecall.core.records import Revocations
from rolecall.core.secrets import Secret
from rolecall.core.source import Issued, Subject
from rolecall.errors import BadName, ServiceError, Upstream, UpstreamAnswered
from rolecall.mechanisms.pod_identity.inject import AUDIENCE

LONGEST_ASK = 131_072
"""Bytes of a request body: twice the longest token that AWS's agent was seen to pass on."""

STATUS_OF: Mapping[str, int] = {
    "AccessDeniedException": 400,
    "ExpiredTokenException": 400,
    "InvalidParameterException": 400,
    "InvalidRequestException": 400,
    "InvalidTokenException": 400,
    "ResourceNotFoundException": 404,
    "ThrottlingException": 429,
    "InternalServerException": 500,
    "ServiceUnavailableException": 503,
}
"""Every error that the operation declares, with its HTTP status."""

FINAL = frozenset(
    {"AccessDeniedException", "ExpiredTokenException", "InvalidTokenException", "ResourceNotFoundException"}
)
"""Codes after which AWS's agent drops what it has cached."""

_REVOCATIONS_PATH = re.compile(r"/clusters/([^/]+)/pod-identity-revocations")
_AFTER = re.compile(r"after=(-?[0-9]{1,18})")
_PATH = re.compile(r"/clusters/([^/]+)/assume-role-for-pod-identity")
_TOKEN_PATTERN = r"[A-Za-z0-9-_=]+\.[A-Za-z0-9-_=]+\.[A-Za-z0-9-_=]+"  # noqa: S105  the model's pattern of a token
_TOKEN = re.compile(r"[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+")
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9._]{0,127}")
_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_THROTTLED = frozenset(
    {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"}
)

_Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Ask(msgspec.Struct):
    token: str


class _Subject(msgspec.Struct, rename="camel"):
    namespace: _Text
    service_account: _Text


class _Association(msgspec.Struct, rename="camel"):
    association_arn: _Text
    association_id: _Text


class _AssumedRoleUser(msgspec.Struct, rename="camel"):
    arn: _Text
    assume_role_id: _Text


class _Credentials(msgspec.Struct, rename="camel"):
    session_token: _Text
    secret_access_key: _Text
    access_key_id: _Text
    expiration: Annotated[float, msgspec.Meta(gt=0, lt=253_402_300_800)]  # up to the year 9999


class _Revocations(msgspec.Struct, rename="camel"):
    seq: int
    association_ids: tuple[_Text, ...]
    whole: bool


class _Answer(msgspec.Struct, rename="camel"):
    subject: _Subject
    audience: str
    pod_identity_association: _Association
    assumed_role_user: _AssumedRoleUser
    credentials: _Credentials


def ask_path(cluster: ClusterName) -> str:
    """Return the path of the operation for a cluster."""
    return f"/clusters/{cluster}/assume-role-for-pod-identity"


def parse_path(raw_path: str) -> ClusterName | None:
    """Return the cluster that a raw request path names, or None where it is not this operation's path.

    Raises `ServiceError` (``InvalidParameterException``) where the name is not a cluster name.
    """
    found = _PATH.fullmatch(raw_path)
    if found is None:
        return None
    try:
        return ClusterName.parse(unquote(found[1]))
    except BadName:
        raise _invalid(
            "InvalidParameterException",
            "1 validation error detected: Value at 'clusterName' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: [0-9A-Za-z][A-Za-z0-9\\-_]*",
        ) from None


def revocations_path(cluster: ClusterName, after: int) -> str:
    """Return the path and query by which an agent asks what it has to forget. Rolecall's own; AWS has none."""
    return f"/clusters/{cluster}/pod-identity-revocations?after={after}"


def parse_revocations_path(raw_path: str, raw_query: str) -> tuple[ClusterName, int] | None:
    """Return the cluster and the moment asked about, or None for another path; raises `ServiceError`."""
    found = _REVOCATIONS_PATH.fullmatch(raw_path)
    if found is None:
        return None
    after = _AFTER.fullmatch(raw_query)
    try:
        cluster = ClusterName.parse(unquote(found[1]))
    except BadName as fault:
        raise _invalid("InvalidParameterException", fault.message) from None
    if after is None:
        raise _invalid("InvalidParameterException", "after must be a whole number")
    return cluster, int(after[1])


def encode_revocations(revoked: Revocations) -> bytes:
    """Return the answer's body."""
    return msgspec.json.encode(_Revocations(revoked.seq, revoked.association_ids, revoked.whole))


def decode_revocations(body: bytes) -> Revocations:
    """Return what is to be forgotten; raises `Upstream` for a body that does not say."""
    try:
        found = msgspec.json.decode(body, type=_Revocations)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise Upstream(f"the list of revocations cannot be read: {str(fault)[:200]}") from None
    return Revocations(found.seq, found.association_ids, found.whole)


def agent_token(headers: Sequence[tuple[str, str]]) -> Secret | None:
    """Return the token that an agent shows in ``Authorization: Bearer``; None where it shows something else.

    Raises `ServiceError` for two such headers, and for what is no token.
    """
    values = [value for name, value in headers if name == "authorization"]
    if not any(value[:7].lower() == "bearer " for value in values):
        return None
    found = values[0][7:].strip()
    if len(values) > 1 or not _TOKEN.fullmatch(found):
        raise ServiceError("UnrecognizedClientException", "The agent's own token is not one.", status=403)
    return Secret(found)


def encode_ask(token: Secret) -> bytes:
    """Return the request body."""
    return msgspec.json.encode(_Ask(token.reveal()))


def decode_ask(body: bytes) -> Secret:
    """Return the token of a request body.

    Raises `ServiceError`: ``InvalidRequestException`` for a body that is not a JSON object or too long,
    ``InvalidParameterException`` for a token that is missing or not three dot-separated parts. The
    sentence never repeats the token.
    """
    if len(body) > LONGEST_ASK:
        raise _invalid("InvalidRequestException", f"The request body is longer than {LONGEST_ASK} bytes.")
    try:
        token = msgspec.json.decode(body, type=_Ask).token
    except msgspec.ValidationError as error:
        if "$" not in str(error) and "field `token`" not in str(error):
            raise _invalid("InvalidRequestException", "The request body is not a JSON object.") from None
        raise _invalid(
            "InvalidParameterException",
            "1 validation error detected: Value at 'token' failed to satisfy constraint: Member must not be null",
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _invalid("InvalidRequestException", "The request body is not valid JSON.") from None
    if not _TOKEN.fullmatch(token):
        raise _invalid(
            "InvalidParameterException",
            "1 validation error detected: Value at 'token' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {_TOKEN_PATTERN}",
        )
    return Secret(token)


def encode_issued(issued: Issued) -> bytes:
    """Return the answer's body; `expiration` is in whole epoch seconds, never later than the real one.

    `issued` must name its subject and association, which EKS Auth's answer requires: else `ServiceError`
    (``InternalServerException``, 500).
    """
    subject, found = issued.subject, issued.credentials
    if subject is None or not issued.association_arn or not issued.association_id:
        raise _invalid("InternalServerException", "The credentials are not tied to an association.")
    answer = {
        "subject": {"namespace": str(subject.namespace), "serviceAccount": str(subject.service_account)},
        "audience": AUDIENCE,
        "podIdentityAssociation": {
            "associationArn": issued.association_arn,
            "associationId": issued.association_id,
        },
        "assumedRoleUser": {"arn": issued.assumed_role_arn, "assumeRoleId": issued.assumed_role_id},
        "credentials": {
            "sessionToken": found.session_token.reveal(),
            "secretAccessKey": found.secret_access_key.reveal(),
            "accessKeyId": found.access_key_id,
            "expiration": int(found.expires_at),
        },
    }
    return msgspec.json.encode(answer)


def decode_issued(body: bytes) -> Issued:
    """Return what EKS Auth issued; the account is the one in the session's ARN.

    Raises `Upstream` for a body that lacks a needed field or holds one of a wrong form.
    """
    try:
        answer = msgspec.json.decode(body, type=_Answer)
        arn = Arn.parse(answer.assumed_role_user.arn)
        account = _account(arn.account)
        subject = _subject(answer.subject.namespace, answer.subject.service_account)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadName) as error:
        raise Upstream(f"EKS Auth's answer cannot be read: {str(error)[:200]}") from None
    return Issued(
        credentials=Credentials(
            access_key_id=answer.credentials.access_key_id,
            secret_access_key=Secret(answer.credentials.secret_access_key),
            session_token=Secret(answer.credentials.session_token),
            expires_at=answer.credentials.expiration,
            account=account,
        ),
        assumed_role_arn=answer.assumed_role_user.arn,
        assumed_role_id=answer.assumed_role_user.assume_role_id,
        subject=subject,
        association_arn=intern(answer.pod_identity_association.association_arn),
        association_id=intern(answer.pod_identity_association.association_id),
    )


# Many credentials of a node are of few service accounts, associations and accounts: these are held once.


@lru_cache(256)
def _account(text: str) -> AccountId:
    return AccountId.parse(text)


@lru_cache(256)
def _subject(namespace: str, account: str) -> Subject:
    return Subject(Namespace.parse(namespace), ServiceAccountName.parse(account))


def decode_error(status: int, headers: Sequence[tuple[str, str]], body: bytes) -> UpstreamAnswered:
    """Return the error of an answer that is not 200 (rest-json; header names are lower-case).

    The code is the one in ``x-amzn-errortype``, else in the body; ``UnknownError`` where neither has one, as
    when a proxy answered. Message and request id are cut to what can be shown in a line.
    """
    found = _members(body)
    named = dict(reversed(headers)).get("x-amzn-errortype") or _first(found, "code", "Code", "__type")
    code = named.partition(":")[0].rpartition("#")[2].strip()
    if not _CODE.fullmatch(code):
        code = "UnknownError"
    message = " ".join(_first(found, "message", "Message").split())[:1000]
    message = "".join(letter if letter.isprintable() else "?" for letter in message)
    request_id = dict(reversed(headers)).get("x-amzn-requestid", "").strip()
    error = UpstreamAnswered(
        status=status,
        code=code,
        message=message or f"EKS Auth answered with HTTP status {status} and no message",
        request_id=request_id if _REQUEST_ID.fullmatch(request_id) else "",
    )
    error.retryable = error.retryable or code in _THROTTLED
    return error


def _members(body: bytes) -> Mapping[str, object]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _first(members: Mapping[str, object], *names: str) -> str:
    return next((value for value in map(members.get, names) if isinstance(value, str)), "")


def _invalid(code: str, message: str) -> ServiceError:
    return ServiceError(code, message, status=STATUS_OF[code])
