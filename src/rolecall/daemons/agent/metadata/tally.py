"""What the metadata door says of each request: counters, one line in the log, and the audit trail.

Whoever is named here was found by the address that asked, at that moment; nothing is what the caller says of itself,
but for the role that it asked for.
"""

from __future__ import annotations

from datetime import UTC, datetime

from rolecall.core.caller import AtContainerIp, AtPodIp
from rolecall.core.exchange import Reply, Request
from rolecall.core.source import Ask, Issued
from rolecall.daemons.serving import LINES_A_SECOND, SECONDS
from rolecall.edges.clock import Clock
from rolecall.edges.limits import TokenBucket
from rolecall.edges.metrics import Histogram, count
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError, UpstreamAnswered
from rolecall.mechanisms.imds.door import Asked

Who = AtPodIp | AtContainerIp | None
_LONGEST = 128


def named(who: Who) -> dict[str, object]:
    """Return the fields that say who asks."""
    if isinstance(who, AtPodIp):
        pod = who.pod
        return {
            "namespace": pod.namespace,
            "service_account": pod.service_account,
            "pod": pod.name,
            "pod_uid": pod.uid,
        }
    return {} if who is None else {"container": who.container.name, "container_id": who.container.id[:12]}


class Tally:
    """Counts and tells. `whats` has the answered questions by what was asked for; `waited` the seconds of those that
    somebody had to be asked or waited for; `unwritten` the lines that were too many."""

    def __init__(self, clock: Clock, log: Log) -> None:
        self._log = log
        self.replies: dict[int, int] = {}
        self.refusals: dict[str, int] = {}
        self.whats: dict[str, int] = {}
        self.waited = Histogram(SECONDS)
        self.unwritten = 0
        self._lines = TokenBucket(rate=LINES_A_SECOND, burst=10 * LINES_A_SECOND, clock=clock)
        self._trail = TokenBucket(rate=LINES_A_SECOND / 5, burst=4 * LINES_A_SECOND, clock=clock)

    def answered(
        self, request: Request, reply: Reply, asked: Asked | None, who: Who, *, seconds: float = 0.0, why: str = ""
    ) -> Reply:
        """Count a reply, write its line, and return it. A reply with a reason is a refusal, and is in the trail."""
        self.replies[reply.status] = self.replies.get(reply.status, 0) + 1
        what = asked.what if asked is not None else ("token" if request.method == "PUT" else "none")
        self.whats[what] = self.whats.get(what, 0) + 1
        if reply.reason and reply.status >= 400:
            self._refused(request, reply, asked, who, why)
        if not self._log.informs:
            return reply
        if not self._lines.take():
            self.unwritten += 1
            return reply
        fields = {"why": why or reply.reason} if why or reply.reason else {}
        if asked is not None and asked.role:
            fields["asked_role"] = asked.role[:_LONGEST]
        ms = round(seconds * 1000, 1)
        self._log.info(
            "imds.answered", peer=request.peer, method=request.method, what=what, status=reply.status, ms=ms,
            **fields, **named(who),
        )  # fmt: skip
        return reply

    def hit(self, peer: str, who: Who) -> None:
        """Count and tell of credentials that were given without the corridor."""
        self.replies[200] = self.replies.get(200, 0) + 1
        self.whats["credentials"] = self.whats.get("credentials", 0) + 1
        if not self._log.informs:
            return
        if self._lines.take():
            self._log.info(
                "imds.answered", peer=peer, method="GET", what="credentials", status=200, ms=0.0, **named(who)
            )
        else:
            self.unwritten += 1

    def landed(self, ask: Ask, outcome: Issued | Exception, renewal: bool) -> None:
        """Write what a question to STS brought. What was issued is always written."""
        grant = ask.grant
        assert grant is not None
        fields: dict[str, object] = {"peer": ask.peer, **named(ask.caller), "role": str(grant.role)}
        session = grant.hops[-1].session
        if isinstance(outcome, Issued):
            end = datetime.fromtimestamp(int(outcome.credentials.expires_at), UTC)
            self._log.info(
                "imds.issued", **fields, role_session=outcome.assumed_role_arn, because="; ".join(grant.because),
                external_id=session.external_id is not None, expires=f"{end:%Y-%m-%dT%H:%M:%SZ}",
                request_id=outcome.request_id, renewal=renewal,
            )  # fmt: skip
        elif isinstance(outcome, RolecallError) and self._may_write():
            if isinstance(outcome, UpstreamAnswered):
                fields |= {"status": outcome.status, "request_id": outcome.request_id}
            write = self._log.error if outcome.retryable else self._log.warning
            name = "imds.upstream_failed" if outcome.retryable else "imds.denied_by_aws"
            write(name, **fields, code=outcome.word, why=outcome.message, renewal=renewal)

    def _refused(self, request: Request, reply: Reply, asked: Asked | None, who: Who, why: str) -> None:
        count(self.refusals, reply.reason)
        if self._may_write():
            fields: dict[str, object] = {"why": why} if why else {}
            if asked is not None and asked.role:
                fields["asked_role"] = asked.role[:_LONGEST]
            status = reply.status
            self._log.warning(
                "imds.refused", peer=request.peer, code=reply.reason, status=status, **fields, **named(who)
            )

    def _may_write(self) -> bool:
        if self._trail.take():
            return True
        self.unwritten += 1
        return False
