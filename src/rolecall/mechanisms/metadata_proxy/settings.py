"""What an operator sets for each dialect: the originals' flags and variables, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rolecall.core.session import LONGEST_SESSION
from rolecall.mechanisms.metadata_proxy.permitted import Format, KiamRule

DURATION = 3600
"""Seconds of a session. The originals' 15 and 30 minutes make some SDKs ask for every call (kiam 41, R-3)."""


@dataclass(frozen=True, slots=True)
class Kube2iam:
    """kube2iam's flags. `base` ends with a slash or is empty; `restrictions` is off, as in the original."""

    base: str = ""
    default_role: str = ""
    role_key: str = "iam.amazonaws.com/role"
    external_id_key: str = "iam.amazonaws.com/external-id"
    namespace_key: str = "iam.amazonaws.com/allowed-roles"
    restrictions: bool = False
    written: Format = "glob"
    duration: int = DURATION


@dataclass(frozen=True, slots=True)
class Kiam:
    """kiam's flags. `rule` is what ``--disable-strict-namespace-regexp`` loosens; `external_ids` heeds annotations."""

    base: str = ""
    session: str = "kiam"
    rule: KiamRule = "strict"
    external_ids: bool = True
    duration: int = DURATION
    role_key: str = "iam.amazonaws.com/role"
    external_id_key: str = "iam.amazonaws.com/external-id"
    session_key: str = "iam.amazonaws.com/session-name"
    namespace_key: str = "iam.amazonaws.com/permitted"
    allow_route: str = "^$"


@dataclass(frozen=True, slots=True)
class Metadataproxy:
    """metadataproxy's variables. `account` is where a role without one is: the agent's own, where none is set."""

    default_role: str = ""
    account: str = ""
    accounts: Mapping[str, str] = field(default_factory=dict)
    session_key: str = ""
    partition: str = "aws"
    duration: int = DURATION


Restrictions = Literal["off", "where-set", "everywhere"]


@dataclass(frozen=True, slots=True)
class SecretFiles:
    """kube-aws-iam-controller's flags, and who may have what. `base` is what a role's name is put behind.

    `restrictions` says whether a namespace's list counts: never, where it has one, or with no list as an empty one.
    `refresh_limit` is how many seconds before their end credentials are renewed at the latest; a session is asked for
    for `longest` seconds at most.
    """

    base: str
    restrictions: Restrictions = "where-set"
    namespace_key: str = "iam.amazonaws.com/allowed-roles"
    written: Format = "glob"
    refresh_limit: float = 900.0
    longest: int = LONGEST_SESSION
