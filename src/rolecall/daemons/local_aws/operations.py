"""One AWS operation: which action it is, on which resource, and what it does.

Every service of the plane is a table of these, so that parsing, signature, authorisation and rendering are
written once and an operation cannot forget any of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rolecall.core.exchange import Request
from rolecall.core.names import AccountId, Partition, Region
from rolecall.core.policy.context import RequestContext
from rolecall.daemons.local_aws.principals import Principal
from rolecall.edges.store.sqlite import Tx

Params = Mapping[str, Any]
Answer = Mapping[str, Any]
CALLER = "_caller"
"""In an answer: who asked, for the log, where the operation itself found out."""


@dataclass(frozen=True, slots=True)
class World:
    """What is true of the whole plane: whose account, which region, which limits. Times are in seconds."""

    account: AccountId
    partition: Partition
    region: Region
    url: str
    max_session_seconds: int | None
    max_token_seconds: int | None
    trust_policy_quota: int

    def iam_arn(self, resource: str) -> str:
        """Return the ARN of an IAM resource such as ``role/name``."""
        return f"arn:{self.partition}:iam::{self.account}:{resource}"

    def eks_arn(self, resource: str) -> str:
        """Return the ARN of an EKS resource such as ``cluster/name``."""
        return f"arn:{self.partition}:eks:{self.region}:{self.account}:{resource}"


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated call: parsed parameters, who signed, and when. `gathered` is what was fetched ahead."""

    world: World
    request: Request
    params: Params
    principal: Principal | None
    now: float
    request_id: str
    gathered: Any = None


@dataclass(frozen=True, slots=True)
class Target:
    """What a call acts on: the ARN for policies, the words for people, and its condition keys."""

    arn: str
    words: str
    context: RequestContext = field(default_factory=RequestContext)


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of a service.

    `target` says what a call acts on; it has the transaction, since a thing that is there has an ARN of its own.
    `gather` runs before the call's transaction and fetches what the operation needs from outside; `act` runs
    inside it; `later` runs after its commit, with `act`'s answer (empty where there is no `act`), for what
    must await: the product's own server. Operations `for_everyone` need no permission, `unsigned` ones no
    signature either. What a program asks again and again by itself is `quiet`: the log is not filled with it.
    """

    action: str
    target: Callable[[Tx, Call], Target]
    act: Callable[[Tx, Call], Answer] | None = None
    later: Callable[[Call, Answer], Awaitable[Answer]] | None = None
    gather: Callable[[Call], Awaitable[Any]] | None = None
    for_everyone: bool = False
    quiet: bool = False
    unsigned: bool = False


Operations = Mapping[str, Operation]


def anything(_tx: Tx, _call: Call) -> Target:
    """Target of actions that IAM evaluates against ``*`` only."""
    return Target("*", "*")
