"""Names of AWS and Kubernetes things: parse or refuse.

Each simple name is a `str` that can only be made by `parse`, so holding one means that it was checked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from rolecall.errors import BadName


class Name(str):
    """A checked string. Subclasses give the pattern and the words for its error."""

    __slots__ = ()
    what: ClassVar[str]
    pattern: ClassVar[re.Pattern[str]]
    longest: ClassVar[int]
    rule: ClassVar[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the name, or raise `BadName` that says what a good one looks like."""
        if len(text) > cls.longest or not cls.pattern.fullmatch(text):
            shown = text if len(text) <= 64 else text[:61] + "..."
            raise BadName(f"{shown!r} is not {cls.what}: {cls.rule}")
        return cls(text)


class Partition(Name):
    """An AWS partition: ``aws``, ``aws-cn``, ``aws-us-gov``, ``aws-iso…``."""

    __slots__ = ()
    what = "an AWS partition"
    pattern = re.compile(r"aws(-[a-z0-9]+)*")
    longest = 32
    rule = "use aws, aws-cn, aws-us-gov or another aws-… partition"


class AccountId(Name):
    """A 12-digit AWS account id."""

    __slots__ = ()
    what = "an AWS account id"
    pattern = re.compile(r"[0-9]{12}", re.ASCII)
    longest = 12
    rule = "it has exactly 12 digits"


class Region(Name):
    """An AWS region such as ``us-west-2``."""

    __slots__ = ()
    what = "an AWS region"
    pattern = re.compile(r"[a-z]{2,8}(-[a-z]+)+-[0-9]{1,2}")
    longest = 32
    rule = "it looks like us-west-2"


class Namespace(Name):
    """A Kubernetes namespace (an RFC 1123 label)."""

    __slots__ = ()
    what = "a Kubernetes namespace"
    pattern = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
    longest = 63
    rule = "at most 63 of a-z, 0-9 and '-', starting and ending with a letter or digit"


class ServiceAccountName(Name):
    """A Kubernetes service account name (an RFC 1123 subdomain)."""

    __slots__ = ()
    what = "a service account name"
    pattern = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
    longest = 253
    rule = "at most 253 of a-z, 0-9, '-' and '.', starting and ending with a letter or digit"


class PodName(Name):
    """A Kubernetes pod name (an RFC 1123 subdomain)."""

    __slots__ = ()
    what = "a pod name"
    pattern = ServiceAccountName.pattern
    longest = 253
    rule = ServiceAccountName.rule


class ClusterName(Name):
    """An EKS cluster name (EKS API, CreateCluster)."""

    __slots__ = ()
    what = "a cluster name"
    pattern = re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]*", re.ASCII)
    longest = 100
    rule = "at most 100 letters, digits, '-' and '_', starting with a letter or digit"


_ARN = re.compile(r"arn:([^:]*):([a-z0-9-]+):([a-z0-9-]*):([^:]*):([^\x00-\x1f\x7f]+)", re.ASCII)
_LONGEST_ARN = 2048


@dataclass(frozen=True, slots=True)
class Arn:
    """An Amazon Resource Name, split at its first five colons (AWS General Reference, ARNs).

    Region and account may be empty; the account of what AWS itself owns is ``aws``.
    """

    partition: Partition
    service: str
    region: str
    account: str
    resource: str

    @classmethod
    def parse(cls, text: str) -> Arn:
        """Return the parts, or raise `BadName`."""
        found = _ARN.fullmatch(text) if len(text) <= _LONGEST_ARN else None
        if found is None:
            raise BadName(f"{text[:80]!r} is not an ARN: it looks like arn:aws:iam::123456789012:role/name")
        if found[4] not in {"", "aws"}:
            AccountId.parse(found[4])
        return cls(Partition.parse(found[1]), found[2], found[3], found[4], found[5])

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account}:{self.resource}"


# IAM API Reference, Role: Path begins and ends with a slash and has at most 512 characters; RoleName has 64.
_ROLE = re.compile(r"role((?:/[!-.0-~]+)*/)([\w+=,.@-]{1,64})", re.ASCII)
_LONGEST_PATH = 512


@dataclass(frozen=True, slots=True)
class RoleArn:
    """The ARN of an IAM role; `path` starts and ends with ``/``."""

    partition: Partition
    account: AccountId
    path: str
    name: str

    @classmethod
    def parse(cls, text: str) -> RoleArn:
        """Return the role ARN, or raise `BadName`."""
        arn = Arn.parse(text)
        found = _ROLE.fullmatch(arn.resource)
        if found is not None and len(found[1]) > _LONGEST_PATH:
            found = None
        if arn.service != "iam" or arn.region or arn.account in {"", "aws"} or found is None:
            raise BadName(f"{text[:80]!r} is not a role ARN: it looks like arn:aws:iam::123456789012:role/name")
        return cls(arn.partition, AccountId(arn.account), found[1], found[2])

    def __str__(self) -> str:
        return f"arn:{self.partition}:iam::{self.account}:role{self.path}{self.name}"

    def session(self, session_name: str) -> str:
        """Return the ARN of an assumed-role session; it leaves the role's path out, as STS does."""
        return f"arn:{self.partition}:sts::{self.account}:assumed-role/{self.name}/{session_name}"
