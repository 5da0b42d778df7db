"""The messages between an agent and kiam's server: who has an address, and the credentials of its role.

Two questions, each a POST of JSON. The agent names an address that somebody asked from; the server answers only for
pods of that agent's node, and decides by itself whatever the agent has decided (R-13).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from rolecall.core.caller import AtPodIp
from rolecall.core.credentials import Credentials
from rolecall.core.grant import Refusal
from rolecall.core.names import AccountId, ClusterName, Namespace, ServiceAccountName
from rolecall.core.records import PodFacts
from rolecall.core.secrets import Secret
from rolecall.core.source import Issued, Subject
from rolecall.errors import BadInput, BadName, RolecallError, Upstream, UpstreamAnswered
from rolecall.mechanisms.metadata_proxy.decide import Facts
from rolecall.mechanisms.metadata_proxy.settings import Kiam

CALLER, CREDENTIALS, HEALTH = "/v1/kiam/caller", "/v1/kiam/credentials", "/v1/kiam/health"
LONGEST_QUESTION, LONGEST_ANSWER = 8192, 65_536


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who has this address; or with `uid` and `role`: this role's credentials for the pod that has it."""

    ip: str
    uid: str = ""
    role: str = ""


class _Pod(msgspec.Struct, frozen=True, rename="camel"):
    namespace: str
    name: str
    uid: str
    service_account: str
    node: str


class _Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    reason: str
    sentence: str
    because: tuple[str, ...] = ()


class _Rules(msgspec.Struct, frozen=True, rename="camel"):
    base: str
    session: str
    rule: Literal["strict", "loose"]
    external_ids: bool
    duration: int


class _Caller(msgspec.Struct, frozen=True, omit_defaults=True):
    rules: _Rules | None = None
    pod: _Pod | None = None
    annotations: dict[str, str] = {}
    namespace: dict[str, str] | None = None
    refusal: _Refusal | None = None


class _Issued(msgspec.Struct, frozen=True, rename="camel"):
    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: float
    account: str
    assumed_role_arn: str
    assumed_role_id: str
    request_id: str


class _Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    code: str
    message: str
    status: int = 0


class _Credentials(msgspec.Struct, frozen=True, omit_defaults=True):
    issued: _Issued | None = None
    refusal: _Refusal | None = None
    failure: _Failure | None = None


def decode_question(body: bytes) -> Question:
    """Return a question; raises `BadInput`."""
    try:
        found = msgspec.json.decode(body, type=Question)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadInput("the body is no question of an agent") from None
    if len(found.ip) > 64 or len(found.uid) > 128 or len(found.role) > 2048:
        raise BadInput("the question is longer than any address, uid or role")
    return found


def encode_question(question: Question) -> bytes:
    """Return a question's body."""
    return msgspec.json.encode(question)


def encode_caller(found: Facts | Refusal, rules: Kiam) -> bytes:
    """Return the answer to who has an address, with the rules by which the server will decide about that pod."""
    shown_rules = _Rules(rules.base, rules.session, rules.rule, rules.external_ids, rules.duration)
    if isinstance(found, Refusal):
        return msgspec.json.encode(_Caller(shown_rules, refusal=_refusal(found)))
    assert isinstance(found.caller, AtPodIp), "the server knows pods"
    pod = found.caller.pod
    shown = _Pod(str(pod.namespace), pod.name, pod.uid, str(pod.service_account), pod.node)
    namespace = None if found.namespace is None else dict(found.namespace)
    return msgspec.json.encode(_Caller(shown_rules, shown, dict(found.annotations), namespace))


def decode_caller(body: bytes, ip: str, cluster: ClusterName) -> tuple[Facts | Refusal, Kiam]:
    """Return who has the address that was asked about, and the server's rules; raises `Upstream`."""
    found = _decoded(body, _Caller)
    if found.rules is None:
        raise Upstream("kiam's server named no rules")
    said = found.rules
    rules = Kiam(said.base, said.session, said.rule, said.external_ids, said.duration)
    return (_as_refusal(found.refusal) if found.refusal is not None else _as_facts(found, ip, cluster)), rules


def _as_facts(found: _Caller, ip: str, cluster: ClusterName) -> Facts:
    pod = found.pod
    try:
        if pod is None or not pod.uid:
            raise BadName("no pod")
        namespace, account = Namespace.parse(pod.namespace), ServiceAccountName.parse(pod.service_account)
    except BadName:
        raise Upstream("kiam's server answered neither with a pod nor with a refusal") from None
    facts = PodFacts(cluster, namespace, pod.name, pod.uid, account, pod.node, ip=ip)
    return Facts(AtPodIp(ip, facts), found.annotations, found.namespace)


def encode_credentials(found: Issued | Refusal | RolecallError) -> bytes:
    """Return the answer to a question for credentials."""
    if isinstance(found, Refusal):
        return msgspec.json.encode(_Credentials(refusal=_refusal(found)))
    if isinstance(found, RolecallError):
        status = found.status if isinstance(found, UpstreamAnswered) else 0
        return msgspec.json.encode(_Credentials(failure=_Failure(found.word, found.message, status)))
    keys = found.credentials
    return msgspec.json.encode(
        _Credentials(
            _Issued(
                keys.access_key_id,
                keys.secret_access_key.reveal(),
                keys.session_token.reveal(),
                keys.expires_at,
                str(keys.account),
                found.assumed_role_arn,
                found.assumed_role_id,
                found.request_id,
            )
        )
    )


def decode_credentials(body: bytes, subject: Subject | None) -> Issued | Refusal:
    """Return what was issued, or why it was not; raises `UpstreamAnswered` with what STS said, and `Upstream`."""
    found = _decoded(body, _Credentials)
    if found.refusal is not None:
        return _as_refusal(found.refusal)
    if found.failure is not None:
        failure = found.failure
        if failure.status:
            raise UpstreamAnswered(status=failure.status, code=failure.code[:64], message=failure.message[:1000])
        raise Upstream(f"kiam's server: {failure.message[:1000]}")
    issued = found.issued
    try:
        if issued is None or not issued.access_key_id or not issued.session_token:
            raise BadName("nothing")
        account = AccountId.parse(issued.account)
    except BadName:
        raise Upstream("kiam's server answered neither with credentials nor with a refusal") from None
    keys = Credentials(
        issued.access_key_id,
        Secret(issued.secret_access_key),
        Secret(issued.session_token),
        issued.expiration,
        account,
    )
    return Issued(keys, issued.assumed_role_arn, issued.assumed_role_id, subject, request_id=issued.request_id)


def _decoded(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Upstream("the answer of kiam's server cannot be read") from None


def _refusal(found: Refusal) -> _Refusal:
    return _Refusal(found.reason, found.sentence, found.because)


def _as_refusal(found: _Refusal) -> Refusal:
    return Refusal(found.reason[:64], found.sentence[:1000], because=found.because[:16])


class _Review(msgspec.Struct, frozen=True):
    authenticated: bool = False
    error: str = ""
    user: dict[str, Any] = {}


class _TokenReview(msgspec.Struct, frozen=True):
    status: _Review = _Review()


class Reviewed(msgspec.Struct, frozen=True):
    """What the API server says of a token: its user, and the uid of the pod that it is bound to, or nothing."""

    user: str = ""
    pod_uid: str = ""


def encode_token_review(token: Secret, audiences: tuple[str, ...]) -> bytes:
    """Return the question to the API server whose token this is (authentication.k8s.io/v1, TokenReview)."""
    spec: dict[str, Any] = {"token": token.reveal()}
    if audiences:
        spec["audiences"] = list(audiences)
    made = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    return msgspec.json.encode(made)


def decode_token_review(body: bytes | bytearray) -> Reviewed | None:
    """Return whose token it is; None for one that is not believed. Raises `Upstream`."""
    status = _decoded(bytes(body), _TokenReview).status
    if not status.authenticated:
        return None
    extra = status.user.get("extra") or {}
    uids = extra.get("authentication.kubernetes.io/pod-uid") if isinstance(extra, dict) else None
    uid = uids[0] if isinstance(uids, list) and len(uids) == 1 and isinstance(uids[0], str) else ""
    return Reviewed(str(status.user.get("username") or ""), uid)


def encode_event(caller: AtPodIp, reason: str, message: str, *, name: str, at: str) -> bytes:
    """Return an Event about a pod (core/v1), as kiam's server wrote it; `at` is an RFC 3339 time."""
    pod = caller.pod
    about = {"apiVersion": "v1", "kind": "Pod", "namespace": str(pod.namespace), "name": pod.name, "uid": pod.uid}
    made = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{pod.name[:200]}.{name}", "namespace": str(pod.namespace)},
        "involvedObject": about,
        "reason": reason,
        "message": message[:1024],
        "type": "Warning",
        "source": {"component": "kiam.server"},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
    return msgspec.json.encode(made)
