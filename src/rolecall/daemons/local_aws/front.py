"""One port for every AWS client: guard, route, authenticate, authorise, act, answer.

Signed requests are routed by the service in their credential scope (any region is accepted: a client with an
endpoint override signs its own), unsigned ones by ``Action`` or path. Every answer carries a request id, and
every error has the shape that the client of that service parses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from rolecall.core.exchange import Reply, Request
from rolecall.daemons.local_aws import wire as query
from rolecall.daemons.local_aws.authenticate import authenticate, missing, unreadable
from rolecall.daemons.local_aws.authorize import authorize
from rolecall.daemons.local_aws.faces import Face, Reading
from rolecall.daemons.local_aws.guard import Guard
from rolecall.daemons.local_aws.operations import CALLER, Answer, Call, World
from rolecall.daemons.local_aws.principals import Principal, RoleSession, User
from rolecall.daemons.server import wire as rest
from rolecall.edges import entropy
from rolecall.edges.aws.sigv4 import SignatureFault, Signed, parse_authorization
from rolecall.edges.clock import Clock
from rolecall.edges.store.sqlite import Database, Tx
from rolecall.edges.telemetry import Log
from rolecall.errors import BadInput, Refused, RolecallError, ServiceError, Upstream

log = Log("rolecall.plane")

_IAM_VERSION = "2010-05-08"
_FAILED = "The request failed inside rolecall dev; its log has the cause."

OpenPage = Callable[[Request], Reply | None]
"""Answers a GET that needs no signature (discovery, keys, readiness), or None for any other path."""


@dataclass(slots=True)
class _Trace:
    """What is known of a request so far: for its error, and for the log."""

    request_id: str
    write_error: Callable[[ServiceError, str], Reply]
    operation: str = "-"
    quiet: bool = False
    caller: str = "-"
    code: str = ""
    why: str = ""

    def failed(self, error: ServiceError) -> Reply:
        """Return the reply for an error. Its hint, where it has one, is the reason that a client is not told."""
        self.code, self.why = error.code, error.hint or error.message
        return self.write_error(error, self.request_id)


class Front:
    """Answers every request of the plane's port."""

    def __init__(
        self,
        *,
        guard: Guard,
        faces: Mapping[str, Face],
        open_pages: OpenPage,
        database: Database,
        clock: Clock,
        world: World,
    ) -> None:
        self._guard = guard
        self._faces = faces
        self._open_pages = open_pages
        self._database = database
        self._clock = clock
        self._world = world

    async def answer(self, request: Request, too_long: bool = False) -> Reply:
        """Return the reply to any request, always with a request id; never raises for what a client sent.

        `too_long` says that its body was longer than `guard.LONGEST_BODY`, and was left out.
        """
        trace = _Trace(entropy.uuid4(), _error_writer(request))
        started = self._clock.monotonic()
        try:
            refused = self._guard.refuse(request, too_long=too_long)
            if refused is not None:
                raise refused
            page = self._open_pages(request)
            if page is not None:
                return replace(page, headers=(*page.headers, ("x-amzn-requestid", trace.request_id)))
            reply = await self._reply(request, trace)
        except RolecallError as fault:
            reply = trace.failed(_as_service_error(fault))
        except Exception as error:  # noqa: BLE001  a defect answers 500, and the plane serves on
            log.crash("plane.failed", error, operation=trace.operation, request_id=trace.request_id)
            reply = trace.failed(ServiceError("InternalFailure", _FAILED, status=500))
        write = log.debug if trace.quiet and reply.status < 400 else log.info
        write(
            "plane.answered",
            operation=trace.operation,
            caller=trace.caller,
            status=reply.status,
            code=trace.code,
            why=trace.why,
            request_id=trace.request_id,
            ms=round((self._clock.monotonic() - started) * 1000, 1),
        )
        return reply

    async def _reply(self, request: Request, trace: _Trace) -> Reply:
        face, signed = self._route(request)
        trace.write_error = face.error
        reading = face.read(request)
        trace.operation, trace.quiet = reading.operation.action, reading.operation.quiet
        principal = await self._authenticated(request, signed, face, reading)
        trace.caller = _caller(request) if principal is None else _arn(principal)
        answer = await self._carry_out(request, face, reading, principal, trace.request_id)
        trace.caller = answer.get(CALLER, trace.caller)
        return reading.render(answer, trace.request_id)

    def _route(self, request: Request) -> tuple[Face, Signed | None]:
        """Return the service and what the request says of its signature; raises `ServiceError`.

        A bearer's token is no signature: the face that takes one reads it, and everybody else's requests lack one.
        """
        if (request.header("authorization") or "")[:7].lower() == "bearer ":
            return self._faces[_unsigned_service(request)], None
        try:
            signed = parse_authorization(request)
        except SignatureFault as fault:
            face = self._faces[_unsigned_service(request)]
            raise unreadable(face.codes, fault) from None
        service = signed.service if signed else _unsigned_service(request)
        face_or_none = self._faces.get(service)
        if face_or_none is None:
            raise ServiceError(
                "NotImplemented",
                f"rolecall dev has no {service}: it serves {', '.join(sorted(self._faces))}",
                status=501,
            )
        return face_or_none, signed

    async def _authenticated(
        self, request: Request, signed: Signed | None, face: Face, reading: Reading
    ) -> Principal | None:
        if reading.operation.unsigned:
            return None
        if signed is None:
            raise missing(face.codes)
        now = self._clock.now()
        return await self._database.run(lambda tx: authenticate(tx, request, signed, face.codes, now))

    async def _carry_out(
        self, request: Request, face: Face, reading: Reading, principal: Principal | None, request_id: str
    ) -> Answer:
        operation = reading.operation
        call = Call(self._world, request, reading.params(), principal, self._clock.now(), request_id)
        if operation.gather is not None:
            call = replace(call, gathered=await operation.gather(call))

        def judge_and_act(tx: Tx) -> Answer:
            if not operation.for_everyone:
                authorize(tx, call, operation.action, operation.target(tx, call), face.denied)
            return operation.act(tx, call) if operation.act is not None else {}

        answer = await self._database.run(judge_and_act)
        if operation.later is not None:
            answer = await operation.later(call, answer)
        return answer


def _caller(request: Request) -> str:
    """Return what is known of who signs nothing, before anything was verified."""
    return "unverified-token" if (request.header("authorization") or "")[:7].lower() == "bearer " else "anonymous"


def _unsigned_service(request: Request) -> str:
    """Return which service a request without a readable signature means: by path, by the form's version, else STS."""
    if request.path.startswith("/_rolecall/"):
        return "rolecall"
    if request.path.endswith(("/assume-role-for-pod-identity", "/pod-identity-revocations")):
        return "eks-auth"
    if request.path.startswith("/clusters"):
        return "eks"
    try:
        version = query.read_form(request).get("Version")
    except ServiceError:
        version = None
    return "iam" if version == _IAM_VERSION else "sts"


def _error_writer(request: Request) -> Callable[[ServiceError, str], Reply]:
    """Return how to write an error before the service is known: JSON to whoever speaks JSON, else XML."""
    kind = request.header("content-type") or ""
    return rest.render_error if "json" in kind or request.path != "/" else query.render_error


def _as_service_error(fault: RolecallError) -> ServiceError:
    """Return an error of ours as AWS would word it."""
    if isinstance(fault, ServiceError):
        return fault
    if isinstance(fault, Refused):
        return ServiceError("AccessDenied", fault.message, status=403, hint=fault.hint)
    if isinstance(fault, BadInput):
        return ServiceError("ValidationError", fault.message, status=400, hint=fault.hint)
    if isinstance(fault, Upstream):
        return ServiceError("ServiceUnavailable", fault.message, status=503, hint=fault.hint)
    return ServiceError("InternalFailure", _FAILED, status=500, hint=fault.message)


def _arn(principal: Principal) -> str:
    return principal.arn if isinstance(principal, User | RoleSession) else principal.name
