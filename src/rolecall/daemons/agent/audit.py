"""The audit trail: one line for everything that was issued, and one for every refusal.

Who got credentials is what the issuer said. What only the token says of itself is in fields that begin with
``unverified_``: for ``agent.issued`` the issuer has verified that very token, for ``agent.refused`` nobody has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from rolecall.core.exchange import Request
from rolecall.core.source import Ask, Issued
from rolecall.edges.clock import Clock
from rolecall.edges.limits import TokenBucket
from rolecall.edges.telemetry import Log
from rolecall.errors import BadInput, Refused, RolecallError, ServiceError, UpstreamAnswered
from rolecall.mechanisms.pod_identity import door

LINES_A_SECOND = 10.0
"""Lines about refusals and failures on average; twenty seconds' worth may come at once. Others are counted."""

_SAYS_NO = (BadInput, Refused, UpstreamAnswered)

_NOT_BELIEVED = "no pod of this node can get new credentials: see what the agent signs with, and whether it may ask"

LONGEST = 253
"""Characters of a claim that are shown: no name of Kubernetes is longer."""


class Audit:
    """Writes the trail. What was issued is always written; `unwritten` counts the refusals that were too many."""

    def __init__(self, clock: Clock, log: Log) -> None:
        self._log = log
        self._lines = TokenBucket(rate=LINES_A_SECOND, burst=20 * LINES_A_SECOND, clock=clock)
        self.unwritten = 0

    def landed(self, ask: Ask, outcome: Issued | Exception, renewal: bool) -> None:
        """Tell what a question to the issuer brought. A renewal that may yet succeed is told by the cache, and a limit
        of our own to whoever asked: the corridor has it in `refused`."""
        if isinstance(outcome, Issued):
            self._issued(ask, outcome, renewal)
        elif isinstance(outcome, ServiceError):
            return
        elif isinstance(outcome, RolecallError) and not (renewal and outcome.retryable) and self._may_write():
            refused = isinstance(outcome, _SAYS_NO) and not outcome.retryable
            name = "agent.refused" if refused else "agent.upstream_failed"
            write = self._log.warning if refused else self._log.error
            fields: dict[str, object] = {"code": outcome.word, "why": outcome.message}
            if isinstance(outcome, UpstreamAnswered):
                fields |= {"status": outcome.status, "request_id": outcome.request_id}
                if outcome.about_the_asker:
                    name, write, fields["hint"] = "agent.not_believed", self._log.error, _NOT_BELIEVED
            if outcome.hint:
                fields["hint"] = outcome.hint
            who = dict(_unverified(door.payload_of(ask)))
            write(name, peer=ask.peer, **fields, **who, renewal=renewal)

    def refused(self, request: Request, word: str, status: int, why: str) -> None:
        """Tell of a request that was refused at the door."""
        if self._may_write():
            fields = {"why": why} if why else {}
            who = dict(_unverified(door.payload_in(request)))
            self._log.warning("agent.refused", peer=request.peer, code=word, status=status, **fields, **who)

    def _may_write(self) -> bool:
        if self._lines.take():
            return True
        self.unwritten += 1
        return False

    def _issued(self, ask: Ask, issued: Issued, renewal: bool) -> None:
        if not self._log.informs:
            return
        who: dict[str, object] = {}
        if issued.subject is not None:
            who = {"namespace": issued.subject.namespace, "service_account": issued.subject.service_account}
        unverified = dict(_unverified(door.payload_of(ask)))
        self._log.info(
            "agent.issued",
            peer=ask.peer,
            **who,
            **{name: text for name, text in unverified.items() if name.startswith("unverified_pod")},
            association=issued.association_id,
            association_arn=issued.association_arn,
            role_session=issued.assumed_role_arn,
            expires=datetime.fromtimestamp(int(issued.credentials.expires_at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            request_id=issued.request_id,
            renewal=renewal,
        )


def _unverified(claims: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a token says of its pod (Kubernetes: service account token claims), each cut to a name's length."""
    found = claims.get("kubernetes.io")
    if not isinstance(found, Mapping):
        return
    places = {
        "namespace": found.get("namespace"),
        "service_account": _member(found.get("serviceaccount"), "name"),
        "pod": _member(found.get("pod"), "name"),
        "pod_uid": _member(found.get("pod"), "uid"),
        "node": _member(found.get("node"), "name"),
    }
    for name, text in places.items():
        if isinstance(text, str) and text:
            yield f"unverified_{name}", text[:LONGEST]


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, Mapping) else None
