"""Session names, tags and their limits: STS API Reference (AssumeRole) and what EKS Auth was seen to make."""

from __future__ import annotations

import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall.core.names import ClusterName
from rolecall.core.session import (
    LONGEST_CHAINED_SESSION,
    LONGEST_SESSION,
    MOST_TAGS,
    POD_IDENTITY_TAG_KEYS,
    SHORTEST_SESSION,
    check_session_name,
    check_tags,
    pod_identity_session_name,
)
from rolecall.errors import BadName


def refuses_tags(tags: dict[str, str]) -> bool:
    """Say whether the tags are refused."""
    try:
        check_tags(tags)
    except BadName:
        return True
    return False


@pytest.mark.parametrize("name", ["ab", "a" * 64, "A1_+=,.@-", "botocore-session-1700000000", "system@node.test"])
def test_good_session_names(name: str) -> None:
    r"""2 to 64 of [\w+=,.@-] (STS API Reference, RoleSessionName)."""
    assert check_session_name(name) == name


@pytest.mark.parametrize("name", ["", "a", "a" * 65, "a b", "a:b", "a/b", "ab\n", "\nab", "äb", "a\u0661", "a\x00"])
def test_bad_session_names(name: str) -> None:
    """Anything else, other alphabets' letters and digits too."""
    with pytest.raises(BadName, match="role session name"):
        check_session_name(name)


# What EKS Auth was seen to make: aws-pod-identity.md §3.3 (roadmap#2362), and get-caller-identity in public
# write-ups. Each name keeps ten characters, also where the other leaves room.
SEEN = [
    ("k8s-wl-dev-use1", "engine-booking-7d9f", "eks-k8s-wl-dev-engine-boo-5af5e7ac-5754-49ea-b28f-2c2a2eb95fbb"),
    ("eks-po-identity", "awscli", "eks-eks-po-ide-awscli-8dbbcff5-9716-40c5-a474-c01c3190deeb"),
    ("eks-ref-scenario", "app1", "eks-eks-ref-sc-app1-b81f0fef-97e9-47da-97a2-948c5bbcd1b3"),
    ("myeks", "eks-pod-identity", "eks-myeks-eks-pod-id-1cc7caab-0000-4000-8000-000000000000"),
]


@pytest.mark.parametrize(("cluster", "pod", "name"), SEEN)
def test_session_names_of_eks_auth(cluster: str, pod: str, name: str) -> None:
    """Ours is what EKS Auth makes of the same cluster and pod."""
    assert pod_identity_session_name(ClusterName.parse(cluster), pod, name[-36:]) == name


POD_NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?", fullmatch=True)


@given(st.from_regex(r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}", fullmatch=True), POD_NAMES, st.uuids())
def test_any_session_name_of_a_pod(cluster: str, pod: str, uuid: object) -> None:
    """Whatever the names, STS takes it, the UUID is whole, and both names can be recognised."""
    name = pod_identity_session_name(ClusterName.parse(cluster), pod, str(uuid))
    assert len(name) <= 64
    assert re.fullmatch(r"[A-Za-z0-9_+=,.@-]{2,64}", name)
    assert name.endswith(f"-{uuid}")
    assert name.startswith(f"eks-{cluster[:10]}-{pod[:10]}")


def test_a_pod_name_that_sts_would_not_take() -> None:
    """A name that no pod can have is refused, not rewritten into another pod's."""
    with pytest.raises(BadName):
        pod_identity_session_name(ClusterName.parse("demo"), "a/b", SEEN[0][2][-36:])


def test_tag_characters() -> None:
    r"""Keys and values are of [\p{L}\p{Z}\p{N}_.:/=+\-@] (STS API Reference, Tag): every character is tried."""
    wrong = []
    for code in range(sys.maxunicode + 1):
        letter = chr(code)
        allowed = unicodedata.category(letter)[0] in "LZN" or letter in "_.:/=+-@"
        if refuses_tags({"k": letter}) is allowed:
            wrong.append(code)
    assert wrong == []


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param({f"k{number}": "" for number in range(51)}, id="fifty-one"),
        pytest.param({"": "v"}, id="empty-key"),
        pytest.param({"k" * 129: "v"}, id="long-key"),
        pytest.param({"k": "v" * 257}, id="long-value"),
        pytest.param({"aws:x": "v"}, id="reserved"),
        pytest.param({"AWS:x": "v"}, id="reserved-upper-case"),
        pytest.param({"Team": "a", "team": "b"}, id="keys-differ-by-case"),
        pytest.param({"team": "a", "Team": "b"}, id="keys-differ-by-case-turned"),
        pytest.param({"k\n": "v"}, id="newline-in-key"),
        pytest.param({"k": "v\n"}, id="newline-in-value"),
        pytest.param({"k": "a\tb"}, id="tab"),
        pytest.param({"k": "a*"}, id="star"),
    ],
)
def test_tags_that_sts_refuses(tags: dict[str, str]) -> None:
    """Count, lengths, characters, the reserved prefix, keys that differ by case only (STS API Reference, Tags)."""
    assert refuses_tags(tags)


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param({}, id="none"),
        pytest.param({f"k{number}": "" for number in range(50)}, id="fifty"),
        pytest.param({"k" * 128: "v" * 256}, id="longest"),
        pytest.param({"k": "aws:x"}, id="prefix-in-value"),
        pytest.param({"eks-cluster-arn": "arn:aws:eks:us-west-2:123456789012:cluster/demo"}, id="arn"),
        pytest.param({"Kostenstelle Süd": "42 / a+b=c@d"}, id="unicode"),
    ],
)
def test_tags_that_sts_takes(tags: dict[str, str]) -> None:
    """Up to the limits themselves."""
    assert not refuses_tags(tags)


def test_limits() -> None:
    """STS API Reference, AssumeRole: 900 s to 12 h, one hour when chained, 50 tags; EKS's six transitive tags."""
    assert (SHORTEST_SESSION, LONGEST_SESSION, LONGEST_CHAINED_SESSION, MOST_TAGS) == (900, 12 * 3600, 3600, 50)
    assert sorted(POD_IDENTITY_TAG_KEYS) == [
        "eks-cluster-arn",
        "eks-cluster-name",
        "kubernetes-namespace",
        "kubernetes-pod-name",
        "kubernetes-pod-uid",
        "kubernetes-service-account",
    ]
