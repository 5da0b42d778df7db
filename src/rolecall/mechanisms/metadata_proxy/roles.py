"""What an annotation, a variable or a path calls a role, as an ARN; and how each proxy calls a session.

Sources: legacy-proxies.md §3.3 (metadataproxy), §4.5-4.6 (kiam), §5.4-5.5 (kube2iam).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rolecall.errors import BadName, Misconfigured

_KUBE2IAM_BASE = re.compile(r"arn:(\w|-)*:iam::\d+:role/?(\w+|-|/|\.)*", re.ASCII)
_NOT_IN_SESSION = re.compile(r"[^\w+=,.@-]", re.ASCII)
_ROLE_ARN = re.compile(r"arn:([^:]*):iam::(\d+):role/(.*)", re.ASCII)
_LONGEST_SESSION = 64


def check_base(text: str) -> str:
    """Return kube2iam's ``--base-role-arn`` with its slash; raises `Misconfigured` where it is none."""
    if not _KUBE2IAM_BASE.fullmatch(text):
        raise Misconfigured(f"the base ARN {text[:80]!r} is none", hint="it looks like arn:aws:iam::123456789012:role/")
    return text if text.endswith("/") else f"{text}/"


def base_of_profile(profile: str) -> str:
    """Return the base ARN of the account that an instance profile's ARN is in; the profile's path is not part of it.

    Raises `BadName`.
    """
    head, slash, _ = profile.partition("/")
    parts = head.split(":")
    if not slash or len(parts) != 6 or parts[5] != "instance-profile":
        raise BadName(f"can't determine the base ARN from {profile[:80]!r}")
    return ":".join([*parts[:5], "role/"])


def kube2iam_arn(base: str, text: str) -> str:
    """Return kube2iam's ARN of a role: an ARN, in whatever case its ``arn:`` is, or a name below the base."""
    return text if text[:4].lower() == "arn:" else base + text


def kiam_arn(base: str, text: str) -> str:
    """Return kiam's ARN of a role; one slash before a name is dropped. Raises `BadName` for no name."""
    if not text:
        raise BadName("role can't be empty")
    return text if text.startswith("arn:") else base + text.removeprefix("/")


@dataclass(frozen=True, slots=True)
class ContainerRole:
    """A role as a container names it: the name, with its path, and the account where it says one."""

    name: str
    account: str = ""
    partition: str = ""


def container_role(text: str, accounts: Mapping[str, str]) -> ContainerRole:
    """Return metadataproxy's reading of IAM_ROLE: ``role``, ``path/role``, ``role@account`` or an ARN.

    `accounts` has the ids of accounts that are called by name. Raises `BadName` for a name that is not there.
    """
    arn = _ROLE_ARN.fullmatch(text)
    if arn is not None:
        return ContainerRole(arn[3], arn[2], arn[1])
    name, at, account = text.partition("@")
    if at and not (account.isascii() and account.isdigit()):
        if account not in accounts:
            raise BadName(f"{account[:80]!r} is no account of the account map")
        account = accounts[account]
    return ContainerRole(name, account)


def kube2iam_session(address: str, arn: str) -> str:
    """Return ``<FNV-1a of the address>-<last part of the role>``, cut to 64."""
    number = 0x811C9DC5
    for byte in address.encode():
        number = (number ^ byte) * 0x01000193 & 0xFFFFFFFF
    return f"{number:x}-{arn.rpartition('/')[2]}"[:_LONGEST_SESSION]


def kiam_session(name: str) -> str:
    """Return ``kiam-<name>``; one over 64 is cut to 63, as kiam does; other characters become dashes."""
    session = f"kiam-{name}"
    return _NOT_IN_SESSION.sub("-", session if len(session) <= _LONGEST_SESSION else session[: _LONGEST_SESSION - 1])


def container_session(value: str) -> str:
    """Return metadataproxy's session name of a variable's or label's value; its own where that is too short."""
    session = _NOT_IN_SESSION.sub("_", value)[:_LONGEST_SESSION]
    return session if len(session) > 1 else "devproxyauth"
