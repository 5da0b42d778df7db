"""AWS's rest-json protocol, by the published model: EKS in, EKS out.

(Smithy, AWS restJson1.) Bodies are JSON objects; a path or query member is percent-encoded; timestamps are
seconds since the epoch; an error's code is in ``x-amzn-ErrorType``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from rolecall.core.exchange import Reply, Request
from rolecall.daemons.server.shapes import input_faults
from rolecall.errors import ServiceError

JSON = "application/json"


class RestJson:
    """Finds the operation of a request, reads its parameters, and writes its answer."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._routes: list[tuple[str, re.Pattern[str], OperationModel]] = []
        for name in model.operation_names:
            operation = model.operation_model(name)
            path = operation.http["requestUri"].partition("?")[0]
            pattern = re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path)))
            self._routes.append((operation.http["method"], pattern, operation))

    def match(self, request: Request) -> tuple[OperationModel, Mapping[str, str]]:
        """Return the operation and the raw path members; raises `ServiceError` 404 or 405."""
        methods = []
        for method, pattern, operation in self._routes:
            found = pattern.fullmatch(request.path)
            if found and method == request.method:
                return operation, found.groupdict()
            if found:
                methods.append(method)
        if methods:
            raise ServiceError(
                "MethodNotAllowedException", f"this path takes {' or '.join(sorted(methods))}", status=405
            )
        raise ServiceError(
            "UnknownOperationException",
            f"there is no {self._model.service_name} operation at this path",
            status=404,
        )

    def parse(self, operation: OperationModel, in_path: Mapping[str, str], request: Request) -> dict[str, Any]:
        """Return the parameters by their member names; raises `ServiceError` for any that does not fit."""
        shape = operation.input_shape
        if shape is None:
            return {}
        body = _json_object(request.body)
        query = parse_qsl(request.query, keep_blank_values=True)
        params: dict[str, Any] = {}
        for name, member in shape.members.items():
            wire_name = member.serialization.get("name", name)
            value: Any
            match member.serialization.get("location"):
                case "uri":
                    value = unquote(in_path[wire_name])
                case "querystring":
                    values = [found for key, found in query if key == wire_name]
                    value = values if isinstance(member, ListShape) else (values[0] if values else None)
                case None:
                    value = _read(member, body.get(wire_name), name)
                case other:
                    raise ServiceError("InvalidRequestException", f"{name} in the {other} is not supported", status=501)
            if value is not None and value != []:
                params[name] = _number(value, name) if member.type_name in ("integer", "long") else value
        if sentence := input_faults(operation, params):
            raise ServiceError("InvalidParameterException", sentence)
        return params

    def render(self, operation: OperationModel, answer: Mapping[str, Any], request_id: str) -> Reply:
        """Return the successful reply."""
        shape = operation.output_shape
        body = msgspec.json.encode(_write(shape, answer)) if shape is not None else b"{}"
        headers = (("content-type", JSON), ("x-amzn-requestid", request_id))
        return Reply(operation.http.get("responseCode", 200), body, headers)


def render_error(fault: ServiceError, request_id: str) -> Reply:
    """Return the reply for an error: the code as clients look for it, the message, the request id."""
    headers = (("content-type", JSON), ("x-amzn-errortype", fault.code), ("x-amzn-requestid", request_id))
    return Reply(fault.status, msgspec.json.encode({"__type": fault.code, "message": fault.message}), headers)


def _json_object(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ServiceError("InvalidRequestException", "the request body is not JSON") from None
    if not isinstance(decoded, dict):
        raise ServiceError("InvalidRequestException", "the request body is not a JSON object")
    return decoded


def _number(value: Any, at: str) -> int:
    if isinstance(value, int):
        return value
    if not re.fullmatch(r"-?[0-9]{1,12}", value):
        raise ServiceError("InvalidParameterException", f"{at} is not a whole number")
    return int(value)


def _read(shape: Shape, value: Any, at: str) -> Any:
    """Return a JSON value as its shape has it, or raise for a wrong type. Unknown members are dropped."""
    if value is None:
        return None
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        return {
            name: _read(shape.members[name], member, f"{at}.{name}")
            for name, member in value.items()
            if name in shape.members
        }
    if isinstance(shape, MapShape) and isinstance(value, dict):
        return {key: _read_member(shape.value, member, f"{at}.{key}") for key, member in value.items()}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_read_member(shape.member, member, f"{at}[{number}]") for number, member in enumerate(value)]
    wanted: dict[str, type] = {"string": str, "boolean": bool, "integer": int, "long": int}
    kind = wanted.get(shape.type_name)
    if kind is not None and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ServiceError("InvalidParameterException", f"{at[:100]} must be a {shape.type_name}")


def _read_member(shape: Shape, value: Any, at: str) -> Any:
    """Return a member of a map or a list, where null is no value."""
    if value is None:
        raise ServiceError("InvalidParameterException", f"{at[:100]} must not be null")
    return _read(shape, value, at)


def _write(shape: Shape, value: Any) -> Any:
    """Return what JSON says of `value`; a member without a value is left out."""
    if value is None:
        return None
    if isinstance(shape, StructureShape):
        return {
            member.serialization.get("name", name): _write(member, value[name])
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if isinstance(shape, ListShape):
        return [_write(shape.member, member) for member in value]
    if isinstance(shape, MapShape):
        return {key: _write(shape.value, member) for key, member in value.items()}
    if shape.type_name == "timestamp":
        return round(float(value), 3)
    return str(value) if shape.type_name == "string" else value
