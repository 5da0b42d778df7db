"""EKS Auth as benchmarks need it: answers any token at once, or slowly, or with an error, and counts its calls.

It is STS as well, and an API server with one pod, at 127.0.0.1.

    python -m bench.upstream PORT

``PUT /mode/ok``, ``/mode/slow/0.15``, ``/mode/deny``, ``/mode/fail``; ``GET /calls``, ``/calls/sts``.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from rolecall.core.exchange import Reply, Request
from rolecall.edges.clock import SystemClock
from rolecall.edges.http_server import HttpServer
from rolecall.edges.limits import ServerLimits
from rolecall.edges.sockets import bind_tcp
from rolecall.edges.telemetry import Log

_ANSWER = (
    b'{"subject":{"namespace":"ns","serviceAccount":"sa"},"audience":"pods.eks.amazonaws.com",'
    b'"podIdentityAssociation":{"associationArn":"arn:aws:eks:us-west-2:123456789012:podidentityassociation/c/a-1",'
    b'"associationId":"a-1"},"assumedRoleUser":{"arn":"arn:aws:sts::123456789012:assumed-role/r/s",'
    b'"assumeRoleId":"AROA:s"},"credentials":{"sessionToken":"' + b"T" * 900 + b'","secretAccessKey":"'
    b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    b'","accessKeyId":"ASIAIOSFODNN7EXAMPLE","expiration":4102444800}}'
)
_STS = (
    b'<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><AssumedRoleUser>'
    b"<AssumedRoleId>AROA:s</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/reader/s</Arn>"
    b"</AssumedRoleUser><Credentials><AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>"
    b"<SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY</SecretAccessKey><SessionToken>"
    + b"T"
    * 900
    + b"</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>"
    b"<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></AssumeRoleResponse>"
)
_PODS = (
    b'{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"p","namespace":"ns","uid":"u","annotations":'
    b'{"iam.amazonaws.com/role":"reader"}},"spec":{"nodeName":"here","serviceAccountName":"sa"},'
    b'"status":{"phase":"Running","podIPs":[{"ip":"127.0.0.1"}]}}]}'
)
_NONE = b'{"metadata":{"resourceVersion":"1"},"items":[]}'
_JSON = (("content-type", "application/json"),)


class Upstream:
    """The answers, by the mode that was last set."""

    def __init__(self) -> None:
        self.calls, self.mode, self.seconds = 0, "ok", 0.0
        self.sts = 0

    async def __call__(self, request: Request) -> Reply:
        """Answer one request."""
        if request.path == "/calls":
            return Reply(200, str(self.calls).encode())
        if request.path == "/calls/sts":
            return Reply(200, str(self.sts).encode())
        if request.path.startswith("/mode/"):
            _, _, self.mode, *rest = request.path.split("/")
            self.seconds, self.calls = float(rest[0]) if rest else 0.0, 0
            return Reply(200, b"ok")
        if request.path.startswith("/api/"):
            if "watch=true" in request.query:
                await asyncio.Event().wait()
            return Reply(200, _PODS if request.path.endswith("/pods") else _NONE, _JSON)
        self.calls += 1
        self.sts += request.path == "/"
        if self.seconds:
            await asyncio.sleep(self.seconds)
        if self.mode == "deny":
            return Reply(400, b'{"message":"no"}', (*_JSON, ("x-amzn-errortype", "AccessDeniedException")))
        if self.mode == "fail":
            return Reply(500, b'{"message":"no"}', (*_JSON, ("x-amzn-errortype", "InternalServerException")))
        return Reply(200, _STS, (("content-type", "text/xml"),)) if request.path == "/" else Reply(200, _ANSWER, _JSON)


async def _serve(port: int) -> None:
    server = HttpServer(Upstream(), clock=SystemClock(), limits=ServerLimits(), log=Log())
    await server.listen(bind_tcp("127.0.0.1", port))
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
