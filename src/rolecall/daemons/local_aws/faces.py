"""How each service of the plane reads requests and writes answers: one face a service.

A face knows the protocol and the table of operations. The front asks it three things: which operation is
this, what are its parameters, and how is an answer or an error written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rolecall.core.exchange import Reply, Request
from rolecall.daemons.local_aws import wire as query
from rolecall.daemons.local_aws.authenticate import JSON_CODES, QUERY_CODES, Codes
from rolecall.daemons.local_aws.operations import Answer, Operation, Operations, Params
from rolecall.daemons.server import wire as rest
from rolecall.daemons.server.shapes import service_model
from rolecall.errors import ServiceError


@dataclass(frozen=True, slots=True)
class Reading:
    """An operation that was found: its name, how to read its parameters, how to write its answer."""

    name: str
    operation: Operation
    params: Callable[[], Params]
    render: Callable[[Answer, str], Reply]


class Face(Protocol):
    """What the front needs of a service. `denied` is its code for an unauthorised call."""

    codes: Codes
    denied: str

    def read(self, request: Request) -> Reading:
        """Return the operation of a request; raises `ServiceError` where there is none."""
        ...

    def error(self, fault: ServiceError, request_id: str) -> Reply:
        """Return an error as this service's clients expect it."""
        ...


def _unsupported(service: str, name: str) -> ServiceError:
    return ServiceError(
        "NotImplemented",
        f"rolecall dev does not offer {service}:{name}; see docs/reference/identity-plane.md",
        status=501,
    )


class QueryFace:
    """STS and IAM."""

    codes = QUERY_CODES
    denied = "AccessDenied"

    def __init__(self, service: str, operations: Operations) -> None:
        model = service_model(service)
        self._service = service
        self._namespace = model.metadata["xmlNamespace"]
        self._query = query.Query(model)
        self._operations = operations

    def read(self, request: Request) -> Reading:
        """Return the operation that the form's ``Action`` names."""
        if request.path != "/":
            raise ServiceError("InvalidRequest", f"{self._service} is served at /", status=404)
        form = query.read_form(request)
        model = self._query.operation(form)
        operation = self._operations.get(model.name)
        if operation is None:
            raise _unsupported(self._service, model.name)
        return Reading(
            model.name,
            operation,
            lambda: self._query.parse(model, form),
            lambda answer, request_id: self._query.render(model, answer, request_id),
        )

    def error(self, fault: ServiceError, request_id: str) -> Reply:
        """Return an XML error."""
        return query.render_error(fault, request_id, self._namespace)


class RestFace:
    """EKS."""

    codes = JSON_CODES
    denied = "AccessDeniedException"

    def __init__(self, service: str, operations: Operations) -> None:
        self._service = service
        self._rest = rest.RestJson(service_model(service))
        self._operations = operations

    def read(self, request: Request) -> Reading:
        """Return the operation at the request's method and path."""
        model, in_path = self._rest.match(request)
        operation = self._operations.get(model.name)
        if operation is None:
            raise _unsupported(self._service, model.name)
        return Reading(
            model.name,
            operation,
            lambda: self._rest.parse(model, in_path, request),
            lambda answer, request_id: self._rest.render(model, answer, request_id),
        )

    def error(self, fault: ServiceError, request_id: str) -> Reply:
        """Return a JSON error."""
        return rest.render_error(fault, request_id)
