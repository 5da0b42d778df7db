"""The face of EKS Auth: one operation, in the words of Pod Identity's own wire."""

from __future__ import annotations

from rolecall.core.exchange import Reply, Request
from rolecall.core.source import Ask, Issued, Source
from rolecall.daemons.local_aws.authenticate import JSON_CODES
from rolecall.daemons.local_aws.faces import Reading
from rolecall.daemons.local_aws.operations import Answer, Call, Operation, Target
from rolecall.daemons.server.wire import render_error
from rolecall.edges.store.sqlite import Tx
from rolecall.errors import ServiceError
from rolecall.mechanisms.pod_identity import wire


class EksAuthFace:
    """AssumeRoleForPodIdentity, signed by whoever runs the agent."""

    codes = JSON_CODES
    denied = "AccessDeniedException"

    def __init__(self, source: Source) -> None:
        self._source = source

    def read(self, request: Request) -> Reading:
        """Return the operation; its cluster is in the path, its token in the body."""
        cluster = wire.parse_path(request.path)
        if cluster is None:
            raise ServiceError("UnknownOperationException", "there is no EKS Auth operation at this path", status=404)
        if request.method != "POST":
            raise ServiceError("MethodNotAllowedException", "this path takes POST", status=405)

        async def later(call: Call, _answer: Answer) -> Answer:
            token = wire.decode_ask(request.body)
            return {"issued": await self._source(Ask(token=token, cluster=cluster, peer=request.peer))}

        def target(_tx: Tx, call: Call) -> Target:
            arn = call.world.eks_arn(f"cluster/{cluster}")
            return Target(arn, arn)

        operation = Operation("eks-auth:AssumeRoleForPodIdentity", target, later=later)
        return Reading("AssumeRoleForPodIdentity", operation, dict, _render)

    def error(self, fault: ServiceError, request_id: str) -> Reply:
        """Return a JSON error."""
        return render_error(fault, request_id)


def _render(answer: Answer, request_id: str) -> Reply:
    issued: Issued = answer["issued"]
    headers = (
        ("content-type", "application/json"),
        ("x-amzn-requestid", request_id),
        ("cache-control", "no-store"),
    )
    return Reply(200, wire.encode_issued(issued), headers)
