"""The joints: Ask in, Issued out; who decides and who issues are separate, and composable.

Two function types carry every generation:

- `Decide` says who may have which role, without issuing anything (IMDS role names, `explain`).
- `Source` turns an `Ask` into `Issued`. Cached, limited, remote and deciding sources all look alike,
  so a generation and the process it runs in are independent choices.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from rolecall.core.caller import AtContainerIp, AtPodIp
from rolecall.core.credentials import Credentials
from rolecall.core.grant import Decision, Grant, Refusal
from rolecall.core.names import ClusterName, Namespace, RoleArn, ServiceAccountName
from rolecall.core.secrets import Secret
from rolecall.errors import Refused


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client asks for at a door. Nothing in it is believed yet.

    `token` is the raw service-account token where the door takes one; `peer` the address it came from;
    `cluster` and `role` are what the request itself names. `agent_node` is the node that the agent which asks has
    proved to be on; None where it asks for any node's pods. `grant` and `caller` are there where the door has decided
    already: what is asked for is the granted session, for nobody but this caller.
    """

    token: Secret | None = None
    peer: str = ""
    cluster: ClusterName | None = None
    role: RoleArn | None = None
    agent_node: str | None = None
    grant: Grant | None = None
    caller: AtPodIp | AtContainerIp | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """The service account that credentials were issued to."""

    namespace: Namespace
    service_account: ServiceAccountName


@dataclass(frozen=True, slots=True)
class Issued:
    """Credentials with what they are: the session's ARN and id, for whom, by which association.

    `request_id` is what the issuer called the request: by it, its own logs (CloudTrail) can be searched.
    """

    credentials: Credentials
    assumed_role_arn: str
    assumed_role_id: str
    subject: Subject | None = None
    association_arn: str = ""
    association_id: str = ""
    request_id: str = field(default="", compare=False)


Source = Callable[[Ask], Awaitable[Issued]]
"""Raises `Refused`, `BadInput`, `ServiceError` or `Upstream`."""

Facts = TypeVar("Facts")
Gather = Callable[[Ask], Awaitable[Facts]]
"""All the I/O of a decision: fills one frozen value with everything `Decide` reads."""

Decide = Callable[[Ask, Facts], Decision]
"""Pure: judges what was gathered."""

Issue = Callable[[Ask, Facts, Grant], Awaitable[Issued]]


def decided(gather: Gather[Facts], decide: Decide[Facts], issue: Issue[Facts]) -> Source:
    """Return a source that gathers, decides, and issues what was granted.

    The source raises `Refused` where the decision is a `Refusal`.
    """

    async def source(ask: Ask) -> Issued:
        facts = await gather(ask)
        decision = decide(ask, facts)
        if isinstance(decision, Refusal):
            raise Refused(decision)
        return await issue(ask, facts, decision)

    return source
