"""Role sessions: names, tags, transitive keys, durations, and their limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from rolecall.core.names import ClusterName
from rolecall.errors import BadName

# STS API Reference, AssumeRole: RoleSessionName, DurationSeconds, Tags.
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
# [\p{L}\p{Z}\p{N}_.:/=+\-@]*: \w in the Unicode sense is L and N and _; Z is written out, for \s holds controls too.
_TAG_TEXT = re.compile(r"[\w \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000.:/=+\-@]*")
SHORTEST_SESSION = 900
LONGEST_SESSION = 43_200
LONGEST_CHAINED_SESSION = 3_600
MOST_TAGS = 50

# EKS User Guide, "Grant Pods access to AWS resources based on tags": all six are transitive.
POD_IDENTITY_TAG_KEYS = (
    "eks-cluster-arn",
    "eks-cluster-name",
    "kubernetes-namespace",
    "kubernetes-service-account",
    "kubernetes-pod-name",
    "kubernetes-pod-uid",
)


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """What an AssumeRole call asks for, apart from the role. `duration` is in seconds."""

    name: str
    duration: int
    tags: Mapping[str, str] = field(default_factory=dict)
    transitive_keys: frozenset[str] = frozenset()
    external_id: str | None = None
    source_identity: str | None = None


def check_session_name(name: str) -> str:
    """Return `name` if STS accepts it as RoleSessionName, else raise `BadName`."""
    if not _SESSION_NAME.fullmatch(name):
        raise BadName(f"{name[:80]!r} is not a role session name: 2 to 64 letters, digits or any of _+=,.@-")
    return name


_SHORTENED = 10
"""What EKS Auth leaves of the cluster's and of the pod's name, as seen in the session names that it makes."""


def pod_identity_session_name(cluster: ClusterName, pod_name: str, uuid: str) -> str:
    """Return ``eks-<cluster>-<pod>-<uuid>`` as EKS Auth forms it (aws-pod-identity.md §3.3).

    Cluster and pod keep their first 10 characters each, however short the other is; the UUID (36
    characters) is kept whole. Raises `BadName` for a name that STS would not take.
    """
    return check_session_name(f"eks-{cluster[:_SHORTENED]}-{pod_name[:_SHORTENED]}-{uuid}")


def check_tags(tags: Mapping[str, str]) -> None:
    """Raise `BadName` where tags break STS's limits: count, lengths, characters, reserved prefix."""
    if len(tags) > MOST_TAGS:
        raise BadName(f"{len(tags)} session tags: STS takes at most {MOST_TAGS}")
    folded: set[str] = set()
    for key, value in tags.items():
        if not 1 <= len(key) <= 128 or not _TAG_TEXT.fullmatch(key):
            raise BadName(f"tag key {key[:80]!r}: 1 to 128 letters, digits, spaces or any of _.:/=+-@")
        if len(value) > 256 or not _TAG_TEXT.fullmatch(value):
            raise BadName(f"value of tag {key!r}: at most 256 letters, digits, spaces or any of _.:/=+-@")
        if key.lower().startswith("aws:"):
            raise BadName(f"tag key {key!r}: the prefix aws: is reserved")
        if key.lower() in folded:
            raise BadName(f"tag key {key!r} is given twice: keys differ by more than case")
        folded.add(key.lower())
