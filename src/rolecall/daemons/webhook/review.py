"""A review in bytes, its answer in bytes: AdmissionReview v1 and v1beta1, whose UID and types are echoed.

`read`, gather the facts of ``review.account`` (if it names one), `answer`. Nothing here waits, and the
document of a pod is never written anew.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rolecall.core.frozen import frozen
from rolecall.core.injection import Generation
from rolecall.daemons.webhook import wire
from rolecall.daemons.webhook.decide import Dice, Verdict, decide
from rolecall.daemons.webhook.patch import Operation, patch
from rolecall.daemons.webhook.rules import Facts, Rules
from rolecall.daemons.webhook.strict import strict_patch
from rolecall.daemons.webhook.words import NOTES, REASONS
from rolecall.errors import BadInput

_VERSIONS = ("admission.k8s.io/v1", "admission.k8s.io/v1beta1")

# Kubernetes: "individual warning messages over 256 characters may be truncated", 4,096 all together.
_LONGEST_WARNING = 256
_MOST_WARNINGS = 12
_LONGEST_ANNOTATION = 1024
_pod_reviews = msgspec.json.Decoder(wire.PodReview)
_any_reviews = msgspec.json.Decoder(wire.AnyReview)
_pods = msgspec.json.Decoder(wire.Pod)
_json = msgspec.json.Encoder()


class BadReview(BadInput):
    """The body is no AdmissionReview: there is no UID to answer to, so HTTP says 400."""


@frozen
class Account:
    """The service account of a pod to be: what facts are gathered about."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@frozen
class Review:
    """A review that was read. `account` is None where no facts are needed, since `settled` is the verdict already."""

    api_version: str
    uid: str
    namespace: str
    pod_name: str
    account: Account | None
    pod: wire.Pod | None = None
    body: bytes = b""
    settled: Verdict | None = None


@frozen
class Answer:
    """The answer's body, and what metrics and logs say about it."""

    body: bytes
    verdict: Verdict
    operations: list[Operation] | None

    @property
    def patched(self) -> bool:
        """Whether the pod is changed."""
        return self.operations is not None

    @property
    def word(self) -> str:
        """The reason without its detail: a word of `words.REASONS`."""
        return self.verdict.word

    @property
    def generation(self) -> Generation | None:
        """The generation that the pod is given, None where it is given nothing."""
        return self.verdict.generation if self.patched else None


def read(body: bytes) -> Review:
    """Return the review in a request's body; raises `BadReview` where it is none."""
    review = _decoded(body)
    if review.kind != "AdmissionReview" or review.api_version not in _VERSIONS:
        what = _clean(f"{review.api_version}, {review.kind}", 200)
        raise BadReview(f"the body is not an AdmissionReview but {what!r}: use {' or '.join(_VERSIONS)}")
    request = review.request
    settled = _not_ours(request)
    if settled is None:
        pod = _pod(request)
        if isinstance(pod, wire.Pod):
            spec, names = pod.spec, pod.metadata
            # The API server's own admission has filled in the name by now; it calls the namespace's own `default`.
            account = Account(request.namespace, spec.service_account_name or spec.service_account or "default")
            name = names.name or names.generate_name or ""
            return Review(review.api_version, request.uid, request.namespace, name, account, pod, body)
        settled = Verdict("unreadable-pod", f"the pod cannot be read: {pod}", allowed=False)
    return Review(review.api_version, request.uid, request.namespace, request.name, None, settled=settled)


def review_of(pod: dict[str, Any], namespace: str) -> Review:
    """Return the review that an API server would send for the creation of this pod."""
    request = {
        "uid": "offline",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "namespace": namespace,
        "object": pod,
    }
    return read(_json.encode({"apiVersion": _VERSIONS[0], "kind": "AdmissionReview", "request": request}))


def answer(review: Review, facts: Facts, rules: Rules, dice: Dice) -> Answer:
    """Return the answer to a review. `dice` is thrown at most once."""
    verdict = review.settled
    if verdict is None and review.pod is not None:
        verdict = decide(review.pod, str(review.account), facts, rules, dice)
    assert verdict is not None
    operations = _operations(review, verdict, rules)
    response = wire.Response(uid=review.uid, allowed=verdict.allowed, audit_annotations=_audit(verdict))
    if operations is not None:
        encoded = _json.encode(operations)
        response.patch = _as_go_escapes(encoded) if rules.strict else encoded
        response.patch_type = "JSONPatch"
    if not verdict.allowed:
        response.status = _status(verdict)
    response.warnings = warnings_of(verdict) or None
    body = _json.encode(wire.ReviewAnswer(review.api_version, "AdmissionReview", response))
    return Answer(body, verdict, operations)


def warnings_of(verdict: Verdict) -> list[str]:
    """Return what kubectl shows: of an ordinary pod nothing."""
    said = [f"{verdict.reason}: {verdict.sentence}"] if REASONS[verdict.word].warns and verdict.allowed else []
    said += [f"{note.word}: {note.sentence}" for note in verdict.notes if NOTES[note.word].warns]
    return [_clean(f"rolecall: {one}", _LONGEST_WARNING) for one in said[:_MOST_WARNINGS]]


def _operations(review: Review, verdict: Verdict, rules: Rules) -> list[Operation] | None:
    if verdict.additions is None or review.pod is None:
        return None
    if rules.strict:
        try:
            document = msgspec.json.decode(review.body)["request"]["object"]
            return strict_patch(review.pod, document, verdict.additions)
        except (msgspec.DecodeError, RecursionError):
            pass  # nested deeper than can be read as a whole: the small operations mean the same
    return patch(review.pod, verdict.additions)


def _not_ours(request: wire.Request) -> Verdict | None:
    if request.kind.kind != "Pod" or request.kind.group:
        return Verdict("not-a-pod", f"the object is a {_clean(request.kind.kind, 80)}, not a pod")
    if request.sub_resource:
        return Verdict("sub-resource", f"the request is for the pod's {_clean(request.sub_resource, 80)}")
    if request.operation != "CREATE":
        return Verdict("not-a-creation", f"{_clean(request.operation, 80)} of a pod changes nothing here")
    return None


def _decoded(body: bytes) -> wire.PodReview | wire.AnyReview:
    """Read a review in one go where its object is a pod; where it is none, or a broken one, see what it is."""
    try:
        return _pod_reviews.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _any_reviews.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise BadReview(f"the body is not an AdmissionReview: {_clean(str(fault), 200)}") from None


def _pod(request: wire.PodRequest | wire.AnyRequest) -> wire.Pod | str:
    """Return the pod, or what is wrong with it."""
    if isinstance(request, wire.PodRequest):
        pod = request.object
    elif bytes(request.object) == b"null":
        return "the request has no object"
    else:
        try:
            pod = _pods.decode(request.object)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
            return _clean(str(fault), 200)
    return pod if pod.spec.containers else "it has no containers"


def _audit(verdict: Verdict) -> dict[str, str]:
    said = {"reason": verdict.reason, "sentence": verdict.sentence, "because": verdict.because}
    if verdict.notes:
        said["notes"] = ",".join(note.text for note in verdict.notes)
    return {key: _clean(text, _LONGEST_ANNOTATION) for key, text in said.items() if text}


def _status(verdict: Verdict) -> wire.Status:
    code, reason = (422, "Invalid") if verdict.word == "unreadable-pod" else (403, "Forbidden")
    return wire.Status(_clean(f"rolecall: {verdict.reason}: {verdict.sentence}", _LONGEST_ANNOTATION), reason, code)


def _clean(text: str, longest: int) -> str:
    """Return a text for headers, logs and terminals: no control characters, and not too long."""
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _as_go_escapes(encoded: bytes) -> bytes:
    """Return JSON with what Go's encoder escapes in every text (encoding/json, HTMLEscape)."""
    for letter in ("<", ">", "&", "\u2028", "\u2029"):
        encoded = encoded.replace(letter.encode(), f"\\u{ord(letter):04x}".encode())
    return encoded
