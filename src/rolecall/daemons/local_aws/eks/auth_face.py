"""The face of EKS Auth: one operation, in the words of Pod Identity's own wire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rolecall.core.exchange import Headers, Reply, Request
from rolecall.core.names import ClusterName
from rolecall.core.records import Revocations
from rolecall.core.source import Ask, Issued, Source
from rolecall.daemons.local_aws.authenticate import JSON_CODES
from rolecall.daemons.local_aws.faces import Reading
from rolecall.daemons.local_aws.operations import CALLER, Answer, Call, Operation, Target
from rolecall.daemons.server.agents import Agents
from rolecall.daemons.server.wire import render_error
from rolecall.edges.store.sqlite import Tx
from rolecall.errors import ServiceError
from rolecall.mechanisms.pod_identity import wire

_ACTION = "eks-auth:AssumeRoleForPodIdentity"
Revoked = Callable[[ClusterName, int], Awaitable[Revocations]]
"""(cluster, seq) → what was revoked since."""


class EksAuthFace:
    """AssumeRoleForPodIdentity, and what an agent has to forget.

    Both are signed by whoever runs the agent, or carry the agent's own token: then `agents` says whether and for which
    node it is believed, in the place of signature and policies.
    """

    codes = JSON_CODES
    denied = "AccessDeniedException"

    def __init__(self, source: Source, revoked: Revoked, agents: Agents) -> None:
        self._source, self._revoked, self._agents = source, revoked, agents

    def read(self, request: Request) -> Reading:
        """Return the operation; its cluster is in the path, its token in the body."""
        asked = wire.parse_revocations_path(request.path, request.query)
        if asked is not None:
            return self._revocations(request, *asked)
        cluster = wire.parse_path(request.path)
        if cluster is None:
            raise ServiceError("UnknownOperationException", "there is no EKS Auth operation at this path", status=404)
        if request.method != "POST":
            raise ServiceError("MethodNotAllowedException", "this path takes POST", status=405)

        own = wire.agent_token(request.headers)
        free = own is not None  # of signature and policies: `later` goes on with a good token alone

        async def later(_call: Call, _answer: Answer) -> Answer:
            node = None if own is None else await self._agents.node_of(own, cluster)
            token = wire.decode_ask(request.body)
            ask = Ask(token=token, cluster=cluster, peer=request.peer, agent_node=node)
            return {"issued": await self._source(ask), **_caller(node)}

        operation = Operation(_ACTION, _cluster(cluster), later=later, unsigned=free, for_everyone=free)
        return Reading("AssumeRoleForPodIdentity", operation, dict, _render)

    def _revocations(self, request: Request, cluster: ClusterName, after: int) -> Reading:
        """Whoever may ask for credentials may ask which of them are over: the action is the same."""
        if request.method != "GET":
            raise ServiceError("MethodNotAllowedException", "this path takes GET", status=405)

        own = wire.agent_token(request.headers)
        free = own is not None  # of signature and policies: `later` goes on with a good token alone

        async def later(_call: Call, _answer: Answer) -> Answer:
            node = None if own is None else await self._agents.node_of(own, cluster)
            return {"revoked": await self._revoked(cluster, after), **_caller(node)}

        def render(answer: Answer, request_id: str) -> Reply:
            return Reply(200, wire.encode_revocations(answer["revoked"]), _headers(request_id))

        operation = Operation(_ACTION, _cluster(cluster), later=later, quiet=True, unsigned=free, for_everyone=free)
        return Reading("ListRevocations", operation, dict, render)

    def error(self, fault: ServiceError, request_id: str) -> Reply:
        """Return a JSON error."""
        return render_error(fault, request_id)


def _caller(node: str | None) -> Answer:
    """Return who asked, for the log, where an agent's own token said so; a signature is read elsewhere."""
    return {} if node is None else {CALLER: f"agent:{node}"}


def _render(answer: Answer, request_id: str) -> Reply:
    issued: Issued = answer["issued"]
    return Reply(200, wire.encode_issued(issued), _headers(request_id))


def _headers(request_id: str) -> Headers:
    return (
        ("content-type", "application/json"),
        ("x-amzn-requestid", request_id),
        ("cache-control", "no-store"),
    )


def _cluster(name: ClusterName) -> Callable[[Tx, Call], Target]:
    def target(_tx: Tx, call: Call) -> Target:
        arn = call.world.eks_arn(f"cluster/{name}")
        return Target(arn, arn)

    return target
