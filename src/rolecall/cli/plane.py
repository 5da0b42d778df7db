"""The running plane of ``rolecall dev``: found by its state directory, asked with the admin key."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from rolecall import __version__
from rolecall.core.exchange import Request
from rolecall.daemons.local_aws.apiserver import wire
from rolecall.daemons.local_aws.state_files import PROFILE
from rolecall.edges.aws.node_credentials import SharedFileCredentials
from rolecall.edges.aws.sigv4 import sign
from rolecall.edges.clock import SystemClock
from rolecall.edges.http_call import split_url
from rolecall.edges.http_client import HttpClient
from rolecall.edges.state_dir import Running, StateDir, choose_state_dir
from rolecall.errors import BadInput, Misconfigured, ServiceError, Upstream

Result = TypeVar("Result")
Message = TypeVar("Message", bound=msgspec.Struct)

LONGEST_ANSWER = 8 * 1024 * 1024
_CREATE_CLUSTER = (
    "aws eks create-cluster --name demo --role-arn arn:aws:iam::123456789012:role/any --resources-vpc-config {}"
)

_NEXT = {
    "ResourceNotFoundException": "see what there is: rolecall association list",
    "ResourceInUseException": "change the one that is there: rolecall association update",
}


class Plane:
    """Calls of the admin key, signed and bounded. Raises `ServiceError` with the plane's code and sentence."""

    def __init__(self, state: StateDir, running: Running, http: HttpClient) -> None:
        self.state, self.running = state, running
        self._http = http
        self._keys = SharedFileCredentials(state.credentials, PROFILE)
        self._clock = SystemClock()

    async def ask(self, method: str, path: str, kind: type[Message], message: msgspec.Struct | None = None) -> Message:
        """Make a call of ``/_rolecall/v1``; `path` is what comes after that."""
        body = wire.encode(message) if message is not None else b""
        answer = await self._call(wire.SERVICE, method, wire.PREFIX + path, body)
        try:
            return msgspec.json.decode(answer, type=kind)
        except msgspec.DecodeError:
            raise self._unreadable() from None

    async def eks(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Make a call of the EKS API; parameters and answer have its member names."""
        target = path + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        body = msgspec.json.encode(params) if params is not None else b""
        try:
            answer = await self._call("eks", method, target, body)
        except ServiceError as fault:
            fault.hint = _NEXT.get(fault.code, "")
            raise
        try:
            return msgspec.json.decode(answer, type=dict[str, Any])
        except msgspec.DecodeError:
            raise self._unreadable() from None

    async def cluster(self, name: str | None) -> wire.Cluster:
        """Return the cluster of that name, or the only one; raises `BadInput` that lists what there is."""
        found = (await self.ask("GET", "/clusters", wire.ClusterList)).clusters
        names = ", ".join(one.name for one in found)
        if name is None and len(found) == 1:
            return found[0]
        chosen = next((one for one in found if one.name == name), None)
        if chosen is not None:
            return chosen
        if not found:
            raise BadInput("there is no cluster yet", hint=f"make one: {_CREATE_CLUSTER}")
        if name is None:
            raise BadInput(f"there are {len(found)} clusters: {names}", hint="choose one with --cluster NAME")
        raise BadInput(f"there is no cluster {name!r}", hint=f"there are: {names}")

    async def account(self, cluster: str, namespace: str, name: str) -> wire.Account:
        """Return a service account, also one that nobody has touched yet."""
        return await self.ask("GET", account_path(cluster, namespace, name), wire.Account)

    def _unreadable(self) -> Misconfigured:
        return Misconfigured(
            f"the plane at {self.running.url} gave an answer that this rolecall cannot read",
            hint=f"it is rolecall {self.running.version}, and this is {__version__}: use the same",
        )

    async def _call(self, service: str, method: str, target: str, body: bytes) -> bytes:
        origin, _ = split_url(self.running.url)
        headers = [("host", origin.authority)]
        headers += [("content-type", "application/json")] if body else []
        key = await self._keys.current()
        request = sign(
            Request(method, target, tuple(headers), body),
            access_key_id=key.access_key_id,
            secret=key.secret,
            session_token=key.session_token,
            service=service,
            region=self.running.region,
            now=self._clock.now(),
        )
        answer = await self._http.call(
            method,
            f"{origin}{target}",
            request.headers,
            body,
            connect_timeout=2.0,
            timeout=10.0,
            longest_body=LONGEST_ANSWER,
        )
        if answer.status == 200:
            return answer.body
        code = answer.header("x-amzn-errortype")
        if code is None:
            raise self._unreadable()
        raise ServiceError(code, _sentence(answer.body), status=answer.status)


def account_path(cluster: str, namespace: str, name: str) -> str:
    """Return the path of a service account below ``/_rolecall/v1``."""
    return f"/clusters/{cluster}/serviceaccounts/{quote(namespace, safe='')}/{quote(name, safe='')}"


def find_plane(state_dir: str | None) -> tuple[StateDir, Running]:
    """Return the running plane of a state directory; raises `Misconfigured` where none runs."""
    state = StateDir(choose_state_dir(state_dir, os.environ))
    running = state.running()
    if running is None:
        raise Misconfigured(
            f"no rolecall dev is running on {state.root}",
            hint="start one in another terminal: rolecall dev\n  or say where it is: --state-dir DIR",
        )
    return state, running


def with_plane(state_dir: str | None, work: Callable[[Plane], Awaitable[Result]]) -> Result:
    """Run `work` with the running plane and return its result."""
    state, running = find_plane(state_dir)

    async def run() -> Result:
        http = HttpClient(at_once=2)
        try:
            return await work(Plane(state, running, http))
        except Upstream as fault:
            hint = f"is the plane of {state.root} (pid {running.pid}) still alive?"
            raise Misconfigured(f"the plane cannot be asked: {fault.message}", hint=hint) from None
        finally:
            http.close()

    return asyncio.run(run())


def _sentence(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = None
    message = found.get("message") if isinstance(found, dict) else None
    return str(message) if message else "the plane gave no reason"
