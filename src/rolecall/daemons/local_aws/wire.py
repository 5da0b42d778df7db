"""AWS's query protocol, by the published model: a form in, XML out. STS and IAM speak it.

(Smithy, AWS query protocol.) ``Tags.member.1.Key=a`` is a list of structures; timestamps are ISO 8601 in UTC.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from rolecall.core.exchange import Reply, Request
from rolecall.daemons.server.shapes import input_faults
from rolecall.errors import ServiceError

XML = "text/xml"
MOST_MEMBERS = 200
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_form(request: Request) -> dict[str, str]:
    """Return the form's fields: of the body for POST, of the query for GET. Raises `ServiceError`.

    A field that is given twice is refused: which of the two counts is nobody's to guess.
    """
    if request.method == "POST":
        kind = (request.header("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise ServiceError("InvalidRequest", "the body must be application/x-www-form-urlencoded")
        raw = request.body
    elif request.method == "GET":
        raw = request.query.encode("latin-1", "replace")
    else:
        raise ServiceError("InvalidRequest", "use POST with a form body", status=405)
    try:
        pairs = parse_qsl(raw.decode("utf-8"), keep_blank_values=True, max_num_fields=1000, errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise ServiceError("MalformedQueryString", "the form cannot be read") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise ServiceError("MalformedQueryString", "a form field is given twice")
    return form


class Query:
    """Reads the parameters of one service's operations and writes their answers."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._namespace = model.metadata["xmlNamespace"]

    def operation(self, form: Mapping[str, str]) -> OperationModel:
        """Return the operation that ``Action`` and ``Version`` name; raises `ServiceError` InvalidAction."""
        action = form.get("Action", "")
        version = form.get("Version", "")
        if not action:
            raise ServiceError("MissingAction", "the request has no Action")
        if version != self._model.api_version or action not in self._model.operation_names:
            raise ServiceError(
                "InvalidAction",
                f"Could not find operation {action[:64]} for version {version[:16] or 'NO_VERSION_SPECIFIED'}",
            )
        return self._model.operation_model(action)

    def parse(self, operation: OperationModel, form: Mapping[str, str]) -> dict[str, Any]:
        """Return the parameters by their member names; raises `ServiceError` ValidationError."""
        shape = operation.input_shape
        params = _read_structure(shape, form, "") if shape is not None else {}
        if sentence := input_faults(operation, params):
            raise ServiceError("ValidationError", sentence)
        return params

    def render(self, operation: OperationModel, answer: Mapping[str, Any], request_id: str) -> Reply:
        """Return the successful reply."""
        shape = operation.output_shape
        result = ""
        if shape is not None:
            wrapper = shape.serialization.get("resultWrapper", f"{operation.name}Result")
            result = f"<{wrapper}>{_write_members(shape, answer)}</{wrapper}>"
        text = (
            f'<{operation.name}Response xmlns="{self._namespace}">{result}'
            f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation.name}Response>"
        )
        return Reply(200, text.encode(), (("content-type", XML), ("x-amzn-requestid", request_id)))


def render_error(fault: ServiceError, request_id: str, namespace: str = "") -> Reply:
    """Return the XML error that query clients parse."""
    blame = "Receiver" if fault.status >= 500 else "Sender"
    xmlns = f' xmlns="{namespace}"' if namespace else ""
    text = (
        f"<ErrorResponse{xmlns}><Error><Type>{blame}</Type><Code>{_text(fault.code)}</Code>"
        f"<Message>{_text(fault.message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    return Reply(fault.status, text.encode(), (("content-type", XML), ("x-amzn-requestid", request_id)))


def _read_structure(shape: StructureShape, form: Mapping[str, str], prefix: str) -> dict[str, Any]:
    found = {}
    for name, member in shape.members.items():
        value = _read(member, form, prefix + member.serialization.get("name", name))
        if value is not None:
            found[name] = value
    return found


def _read(shape: Shape, form: Mapping[str, str], at: str) -> Any:
    if isinstance(shape, StructureShape):
        return _read_structure(shape, form, f"{at}.") or None
    if isinstance(shape, ListShape):
        return _read_list(shape, form, at)
    text = form.get(at)
    if text is None:
        return None
    if shape.type_name in ("integer", "long"):
        if not re.fullmatch(r"-?[0-9]{1,12}", text):
            raise ServiceError("MalformedInput", f"{at} is not a whole number")
        return int(text)
    if shape.type_name == "boolean":
        if text.lower() not in ("true", "false"):
            raise ServiceError("MalformedInput", f"{at} must be true or false")
        return text.lower() == "true"
    return text


def _read_list(shape: ListShape, form: Mapping[str, str], at: str) -> list[Any] | None:
    """Return list members in order; a bare ``Name=`` is an empty list."""
    members: list[Any] = []
    for number in range(1, MOST_MEMBERS + 1):
        value = _read(shape.member, form, f"{at}.member.{number}")
        if value is None:
            return members or ([] if form.get(at) == "" else None)
        members.append(value)
    raise ServiceError("ValidationError", f"{at} has more than {MOST_MEMBERS} members")


def _write_members(shape: StructureShape, value: Mapping[str, Any]) -> str:
    return "".join(
        _write(member, value[name], member.serialization.get("name", name))
        for name, member in shape.members.items()
        if value.get(name) is not None
    )


def _write(shape: Shape, value: Any, tag: str) -> str:
    if isinstance(shape, StructureShape):
        inner = _write_members(shape, value)
    elif isinstance(shape, ListShape):
        inner = "".join(_write(shape.member, member, "member") for member in value)
    elif isinstance(shape, MapShape):
        inner = "".join(
            f"<entry>{_write(shape.key, key, 'key')}{_write(shape.value, member, 'value')}</entry>"
            for key, member in value.items()
        )
    elif shape.type_name == "timestamp":
        inner = datetime.fromtimestamp(int(value), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    elif shape.type_name == "boolean":
        inner = "true" if value else "false"
    else:
        inner = _text(str(value))
    return f"<{tag}>{inner}</{tag}>"


def _text(text: str) -> str:
    """Return text that is safe in XML 1.0: markup escaped, forbidden characters replaced."""
    return escape(_NOT_XML.sub("\ufffd", text), {"\r": "&#13;"})
