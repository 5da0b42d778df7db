"""What annotations ask for: of the pod, of its service account, of the ConfigMap, and by the settings, in that order.

A value that cannot be read is passed over for the next one, as AWS's webhook does, and noted, which it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeVar

from rolecall.core.frozen import frozen
from rolecall.core.names import Region, RoleArn
from rolecall.daemons.webhook.rules import Facts, Rules
from rolecall.daemons.webhook.words import Note
from rolecall.errors import BadName
from rolecall.mechanisms.irsa.inject import seconds, truth

POD_NAME = "pod-name"
Parsed = TypeVar("Parsed")
Annotations = Mapping[str, str]


class Asked:
    """The annotations of a pod and its service account, read as they are needed; `notes` collects complaints."""

    __slots__ = ("_annotated", "_facts", "_of_account", "_of_pod", "_prefix", "_rules", "notes")

    def __init__(self, of_pod: Annotations, facts: Facts, rules: Rules, notes: list[Note]) -> None:
        self._of_pod = of_pod
        self._of_account: Annotations = facts.annotations or _NOTHING
        self._facts = facts
        self._rules = rules
        self._prefix = f"{rules.prefix}/"
        self._annotated = self._of_account.get(f"{self._prefix}role-arn", "").strip()
        self.notes = notes

    def expiration(self) -> int:
        """Return the token's lifetime: pod, service account or ConfigMap, setting."""
        found = self._first("token-expiration", seconds)
        entry = self._facts.entry
        if found is None and entry is not None and not self._annotated:
            found = entry.expiration
        return self._rules.expiration if found is None else found

    def region(self) -> Region | None:
        """Return the region that the pod is told."""
        return self._first("region", Region.parse) or self._rules.region

    def sts_regional(self) -> bool:
        """Return whether STS is asked in the region: service account or ConfigMap, setting."""
        entry = self._facts.entry
        found = self._first("sts-regional-endpoints", _truth, of_pod=False)
        if found is None and entry is not None and not self._annotated:
            found = entry.sts_regional
        return self._rules.sts_regional if found is None else found

    def session_name(self) -> bool:
        """Return whether IRSA sessions are called by the pod's name."""
        found = self._first("session-name", _session_name)
        return self._rules.session_name if found is None else found

    def fs_group(self) -> int | None:
        """Return the group that is to own the pod's volumes."""
        return self._first("fs-group", _group)

    def loopback(self) -> bool:
        """Return whether the pod's SDK takes no other address than loopback."""
        return self._first("loopback", _truth) or False

    def containers(self, name: str) -> frozenset[str]:
        """Return the container names in ``skip-containers`` or ``include-containers``; blanks around them are none."""
        text = self._of_pod.get(self._prefix + name, "")
        return frozenset(filter(None, (part.strip().strip('"').strip() for part in text.split(",")))) if text else _NONE

    def role(self) -> Role | None:
        """Return the role of IRSA: of the service account's annotation, else of the ConfigMap, else None."""
        rules, entry = self._rules, self._facts.entry
        if self._annotated:
            audience = self._of_account.get(f"{self._prefix}audience", rules.audience)
            return self._role(self._annotated, audience, f"annotation {self._prefix}role-arn")
        if entry is not None and entry.role_arn:
            # AWS's webhook takes a missing audience for an empty one: a token for the Kubernetes API.
            return self._role(entry.role_arn, entry.audience or rules.audience, "the ConfigMap")
        return None

    def _role(self, text: str, audience: str, because: str) -> Role:
        arn, bare = text.strip(), self._rules.bare_roles
        if bare and not arn.startswith("arn:"):
            arn = f"arn:{bare[0]}:iam::{bare[1]}:role/{arn}"
        return Role(arn, audience, because)

    def _first(self, name: str, parse: Callable[[str], Parsed], *, of_pod: bool = True) -> Parsed | None:
        key = self._prefix + name
        for place in (self._of_pod, self._of_account) if of_pod else (self._of_account,):
            text = place.get(key)
            if text is None:
                continue
            try:
                return parse(text)
            except BadName as fault:
                self.notes.append(Note("bad-annotation", name, f"annotation {key} is passed over: {fault.message}"))
        return None


@frozen
class Role:
    """A role's ARN as it was written, the audience of the token for it, and where it was written."""

    arn: str
    audience: str
    because: str

    def fault(self) -> str:
        """Return what is wrong with the ARN, if anything is."""
        return _fault_in(self.arn)


_NONE: frozenset[str] = frozenset()
_NOTHING: Annotations = {}


@lru_cache(1024)
def _fault_in(arn: str) -> str:
    """All pods of a service account have the same, and reading it is a tenth of a review."""
    try:
        RoleArn.parse(arn)
    except BadName as fault:
        return fault.message
    return ""


def _truth(text: str) -> bool:
    found = truth(text)
    if found is None:
        raise BadName(f"{text[:80]!r} is neither true nor false")
    return found


def _session_name(text: str) -> bool:
    if text not in {POD_NAME, "none"}:
        raise BadName(f"{text[:80]!r} is not a session name: use {POD_NAME}, or none to leave it to the SDK")
    return text == POD_NAME


def _group(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < 2**31):
        raise BadName(f"{text[:80]!r} is not a group id")
    return int(text)
