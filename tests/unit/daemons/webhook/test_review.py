"""Reviews as the API server sends them, and as it must never be answered."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from json_patch import applied
from rolecall.daemons.webhook import review
from rolecall.daemons.webhook.rules import Facts, Rules
from rolecall.daemons.webhook.words import NOTES, REASONS
from rolecall.errors import BadName

ROLE = Facts({"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/carts"})
POD = {"metadata": {"generateName": "carts-"}, "spec": {"containers": [{"name": "app"}], "serviceAccountName": "carts"}}
REFERENCE = Path(__file__).parents[4] / "docs" / "reference" / "webhook.md"


def body(version: str = "v1", of: str = "AdmissionReview", **request: Any) -> bytes:
    """Return a review."""
    asked = {
        "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
        "namespace": "shop", "object": POD,
    }  # fmt: skip
    return json.dumps({"apiVersion": f"admission.k8s.io/{version}", "kind": of, "request": asked | request}).encode()


def answered(text: bytes, facts: Facts = ROLE) -> dict[str, Any]:
    """Return the answer, decoded."""
    found: dict[str, Any] = json.loads(review.answer(review.read(text), facts, Rules(), lambda: 0.0).body)
    return found


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_types_and_uid_are_echoed(version: str) -> None:
    """An API server refuses an answer without them (kubernetes.io, "Dynamic Admission Control")."""
    answer = answered(body(version))
    assert (answer["apiVersion"], answer["kind"]) == (f"admission.k8s.io/{version}", "AdmissionReview")
    assert answer["response"]["uid"] == "u-1"
    assert answer["response"]["patchType"] == "JSONPatch"


def test_the_namespace_is_the_requests() -> None:
    """A pod of a template has none, and one that is written in a pod is not believed."""
    pod = {**POD, "metadata": {"namespace": "kube-system"}}
    assert review.read(body(object=pod)).account == review.Account("shop", "carts")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"operation": "UPDATE"}, "not-a-creation"),
        ({"operation": "DELETE", "object": None}, "not-a-creation"),
        ({"operation": "CONNECT"}, "not-a-creation"),
        ({"subResource": "ephemeralcontainers", "operation": "UPDATE"}, "sub-resource"),
        ({"subResource": "binding"}, "sub-resource"),
        ({"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}}, "not-a-pod"),
        ({"kind": {"group": "example.com", "version": "v1", "kind": "Pod"}}, "not-a-pod"),
    ],
)
def test_what_is_left_alone(request_: dict[str, Any], reason: str) -> None:
    """It is allowed without a patch, and says why; no facts are gathered."""
    assert review.read(body(**request_)).account is None
    found = answered(body(**request_))["response"]
    assert (found["allowed"], found.get("patch"), found["auditAnnotations"]["reason"]) == (True, None, reason)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"[]", b"null", b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}', b"\xff\xfe",
        body("v2"), body(of="Pod"), b'{"request":{"uid":1}}', b"[" * 100_000, b'{"a":' * 100_000,
        b'{"request":{"object":' + b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_review(text: bytes) -> None:
    """There is nobody to answer to: HTTP says 400."""
    with pytest.raises(review.BadReview) as caught:
        review.read(text)
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "pod",
    [None, [], "pod", {}, {"metadata": {}}, {"metadata": None, "spec": {"containers": [{}]}},
     {"metadata": {}, "spec": {"containers": []}}, {"metadata": {"labels": {"a": 1}}, "spec": {"containers": [{}]}},
     {"metadata": {}, "spec": {"containers": [{"env": [{"name": 1}]}]}}],
)  # fmt: skip
def test_what_is_no_pod(pod: Any) -> None:
    """No API server sends one. What cannot be read cannot be known to need no role: it is denied, with 422."""
    found = answered(body(object=pod))["response"]
    assert (found["uid"], found["allowed"], found["status"]["code"]) == ("u-1", False, 422)
    assert found["auditAnnotations"]["reason"] == "unreadable-pod"


def test_a_denial_says_what_to_do() -> None:
    """The message is what `kubectl describe replicaset` shows."""
    pod = {**POD, "metadata": {"labels": {"rolecall.dev/inject": "required"}}}
    found = answered(body(object=pod), Facts({}))["response"]
    assert found["status"]["code"] == 403
    assert (
        "shop/carts has neither an association nor the annotation eks.amazonaws.com/role-arn"
        in found["status"]["message"]
    )
    assert "patch" not in found


def test_strict_is_the_originals_patch() -> None:
    """Byte for byte (aws-pod-identity.md §2.3): order of operations and of keys, Go's escapes, `resources`."""
    pod = {
        "metadata": {"name": "carts"},
        "spec": {"containers": [{"image": "x", "name": "app", "args": ["a && b"]}], "volumes": [{"name": "v"}]},
    }
    found = review.answer(
        review.read(body(object=pod)), Facts({}, "a-1"), Rules(strict=True, expiration_jitter=0), float
    )
    where = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
    assert base64.b64decode(json.loads(found.body)["response"]["patch"]).decode() == (
        '[{"op":"add","path":"/metadata/labels","value":{"eks.amazonaws.com/pod-identity":"enabled"}},'
        '{"op":"add","path":"/spec/volumes/0","value":{"name":"eks-pod-identity-token","projected":{"sources":'
        '[{"serviceAccountToken":{"audience":"pods.eks.amazonaws.com","expirationSeconds":86400,'
        '"path":"eks-pod-identity-token"}}]}}},'
        '{"op":"add","path":"/spec/containers","value":[{"name":"app","image":"x","args":["a \\u0026\\u0026 b"],"env":'
        '[{"name":"AWS_CONTAINER_CREDENTIALS_FULL_URI","value":"http://169.254.170.23/v1/credentials"},'
        '{"name":"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE","value":"' + where + '/eks-pod-identity-token"}],'
        '"resources":{},"volumeMounts":[{"name":"eks-pod-identity-token","readOnly":true,"mountPath":"'
        + where
        + '"}]}]}]'
    )


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("depth", [900, 5_000, 9_999])
def test_a_pod_nested_deeply_is_answered(depth: int, strict: bool) -> None:
    """Kubernetes takes 10,000 levels: whatever cannot be read is denied, and nothing is raised."""
    text = body().replace(b'"name": "app"', b'"name": "app", "x": ' + b"[" * depth + b"]" * depth)
    try:
        found = review.answer(review.read(text), ROLE, Rules(strict=strict), float)
    except review.BadReview:
        assert depth > 900
    else:
        assert found.word in {"injected", "unreadable-pod"}


def test_an_empty_audience_is_no_setting() -> None:
    """Neither for IRSA nor for Pod Identity."""
    for setting in ({"audience": ""}, {"pod_identity_audience": " "}):
        with pytest.raises(BadName, match="audience is empty"):
            Rules(**setting)


def test_the_reference_lists_every_word() -> None:
    """And no other."""
    words = REFERENCE.read_text().partition("## Reasons")[2]
    listed = re.findall(r"^\| `([a-z-]+)` \|", words, re.MULTILINE)
    assert sorted(listed) == sorted([*REASONS, *NOTES])


NAMES = st.sampled_from(["app", "proxy", "init", "log"])
ENV = st.sampled_from([
    "A", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_ROLE_SESSION_NAME", "HTTP_PROXY", "PATH",
])  # fmt: skip
JSON = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
                    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
                    max_leaves=4)  # fmt: skip
UNKNOWN = st.dictionaries(st.sampled_from(["xFuture", "resizePolicy2", "startupProbe", "lifecycle"]), JSON, max_size=2)


def optional(strategy: st.SearchStrategy[Any], name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return ``{}`` or ``{name: value}``; null is a value too."""
    return st.just({}) | st.fixed_dictionaries({name: st.none() | strategy})


def together(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Return the union of objects."""
    return st.tuples(*parts).map(lambda found: {key: value for part in found for key, value in part.items()})


CONTAINER = together(
    UNKNOWN,
    st.fixed_dictionaries({"name": NAMES}),
    optional(st.lists(st.fixed_dictionaries({"name": ENV, "value": st.text(max_size=4)}), max_size=4), "env"),
    optional(st.lists(st.fixed_dictionaries({
        "name": st.sampled_from(["data", "aws-iam-token", "eks-pod-identity-token"]),
        "mountPath": st.sampled_from(["/x", "/var/run/secrets/eks.amazonaws.com/serviceaccount"]),
    }), max_size=2), "volumeMounts"),
)  # fmt: skip
PODS = st.fixed_dictionaries({
    "metadata": together(
        UNKNOWN,
        optional(st.dictionaries(st.sampled_from(["a", "eks.amazonaws.com/pod-identity"]), st.just("b")), "labels"),
        optional(st.dictionaries(st.sampled_from([
            "eks.amazonaws.com/skip-containers", "eks.amazonaws.com/include-containers",
            "eks.amazonaws.com/fs-group", "eks.amazonaws.com/token-expiration", "eks.amazonaws.com/region",
        ]), st.sampled_from(["app", "proxy, log", "600", "us-west-2", "\x00"])), "annotations"),
    ),
    "spec": together(
        UNKNOWN,
        st.fixed_dictionaries({"containers": st.lists(CONTAINER, min_size=1, max_size=3)}),
        optional(st.lists(CONTAINER, max_size=2), "initContainers"),
        optional(st.lists(st.sampled_from([{"name": "data"}, {"name": "aws-iam-token"}]), max_size=2), "volumes"),
        optional(st.dictionaries(st.just("runAsUser"), st.integers(0, 9)), "securityContext"),
        optional(st.booleans(), "hostNetwork"),
    ),
})  # fmt: skip


def kept(before: Any, after: Any) -> bool:
    """Return whether everything in `before` is in `after` in its order; null may have become something."""
    if before is None:
        return True
    if isinstance(before, dict):
        return isinstance(after, dict) and all(
            key in after and kept(value, after[key]) for key, value in before.items()
        )
    if isinstance(before, list):
        rest = iter(after) if isinstance(after, list) else iter(())
        return all(any(kept(one, other) for other in rest) for one in before)
    return bool(before == after)


@settings(max_examples=150, deadline=None)
@given(PODS, st.booleans(), st.booleans())
def test_nothing_is_lost_and_twice_is_once(pod: dict[str, Any], association: bool, strict: bool) -> None:
    """Whatever the pod: no error, nothing is missing after, the second time adds nothing; skipped stays skipped."""
    facts = Facts(ROLE.annotations, "a-1" if association else None)
    small = patched(pod, facts, Rules())
    assert kept(pod, small)
    assert patched(small, facts, Rules(strict=False)) == small
    if strict:
        assert without_empty_resources(patched(pod, facts, Rules(strict=True))) == without_empty_resources(small)
    skip = (pod["metadata"].get("annotations") or {}).get("eks.amazonaws.com/skip-containers", "")
    for before, after in zip(pod["spec"]["containers"], small["spec"]["containers"], strict=True):
        if before["name"] in {part.strip() for part in skip.split(",")}:
            assert before == after


def patched(pod: Any, facts: Facts, rules: Rules) -> Any:
    """Return the pod after the answer's patch."""
    answer = json.loads(review.answer(review.read(body(object=pod)), facts, rules, lambda: 0.3).body)["response"]
    assert answer["allowed"] is True
    operations = json.loads(base64.b64decode(answer["patch"])) if "patch" in answer else []
    return applied(pod, operations)


def without_empty_resources(pod: Any) -> Any:
    """Return the pod without what Go's types write by themselves."""
    for container in [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or [])]:
        if container.get("resources") == {}:
            del container["resources"]
    return pod
