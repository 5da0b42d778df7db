"""Who has an address, by a Docker engine that misbehaves. A real one answers in tests/docker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rolecall.core.records import ContainerFacts
from rolecall.edges.clock import SystemClock
from rolecall.edges.docker.engine import AT_ONCE, DockerEngine
from rolecall.errors import Upstream

KEEP = frozenset({"IAM_ROLE", "IAM_EXTERNAL_ID"})
ID, OTHER = "a" * 64, "b" * 64


def inspected(number: str, address: str, *, running: bool = True, env: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what the engine says of a container (Docker Engine API v1.41, ContainerInspect), shortened."""
    return {
        "Id": number,
        "Name": "/web",
        "State": {"Status": "running", "Running": running, "Pid": 7},
        "Config": {"Env": [*env], "Labels": {"app": "web"}},
        "HostConfig": {"NetworkMode": "bridge"},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": address, "GlobalIPv6Address": ""}}},
    }


def listed(number: str, address: str) -> dict[str, Any]:
    """Return what the engine lists of a container (ContainerList), shortened."""
    networks = {"bridge": {"IPAddress": address, "GlobalIPv6Address": ""}, "none": None}
    settings = {"Networks": networks}
    return {"Id": number, "Names": ["/web"], "Labels": None, "State": "running", "NetworkSettings": settings,
            "HostConfig": {"NetworkMode": "bridge"}}  # fmt: skip


def answer(found: object, status: int = 200, *, chunked: bool = False) -> bytes:
    """Return an HTTP answer, chunked as the engine sends long ones."""
    body = json.dumps(found).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
    if not chunked:
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    return f"{head}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"


async def asked(path: Path, say: Callable[[str], bytes | None], address: str = "172.17.0.2") -> list[ContainerFacts]:
    """Ask an engine that says `say` of each path; None is silence."""

    serving: list[asyncio.Task[Any] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        head = await reader.readuntil(b"\r\n\r\n")
        said = say(head.split(b" ")[1].decode())
        if said is not None:
            writer.write(said)
        else:
            await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(serve, path)
    async with server:
        engine = DockerEngine(path, clock=SystemClock(), keep=KEEP, timeout=0.5)
        try:
            return await engine.at(address)
        finally:
            await asyncio.gather(*(task for task in serving if task), return_exceptions=True)


def run(work: Awaitable[list[ContainerFacts]]) -> list[ContainerFacts]:
    """Run one question."""

    async def main() -> list[ContainerFacts]:
        return await work

    return asyncio.run(main())


def test_one_container(tmp_path: Path) -> None:
    """The last of two variables counts, one without a value is not set, and no other is read."""
    env = ("PASSWORD=hush", "IAM_ROLE=first", "IAM_ROLE=a=b", "IAM_EXTERNAL_ID")
    answers = {
        "/containers/json": answer([listed(OTHER, "172.17.0.9"), listed(ID, "172.17.0.2")], chunked=True),
        f"/containers/{ID}/json": answer(inspected(ID, "172.17.0.2", env=env)),
    }
    assert run(asked(tmp_path / "s", answers.get)) == [
        ContainerFacts(ID, "web", frozenset({"172.17.0.2"}), {"IAM_ROLE": "a=b"}, {"app": "web"})
    ]


@pytest.mark.parametrize(
    "later",
    [
        answer({"message": "No such container"}, 404),
        answer(inspected(ID, "172.17.0.2", running=False)),
        answer(inspected(ID, "172.17.0.3")),
        answer(inspected(ID, "")),
    ],
    ids=["gone", "ended", "moved", "detached"],
)
def test_a_container_that_is_not_there_any_more_is_nobody(tmp_path: Path, later: bytes) -> None:
    """Between the list and the second look it ended, or its address became another's."""
    answers = {"/containers/json": answer([listed(ID, "172.17.0.2")]), f"/containers/{ID}/json": later}
    assert run(asked(tmp_path / "s", answers.get)) == []


def test_two_at_one_address_are_two(tmp_path: Path) -> None:
    """In two networks: whoever identifies refuses both."""
    answers = {"/containers/json": answer([listed(ID, "172.17.0.2"), listed(OTHER, "172.17.0.2")])}
    answers |= {f"/containers/{one}/json": answer(inspected(one, "172.17.0.2")) for one in (ID, OTHER)}
    assert len(run(asked(tmp_path / "s", answers.get))) == 2


@pytest.mark.parametrize(
    "said",
    [
        None, b"", b"nonsense\r\n\r\n", answer([], 500), answer({}), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[",
        answer([listed("../../x", "172.17.0.2")]),
    ],
    ids=["silent", "closed", "garbled", "500", "shape", "cut", "id"],
)  # fmt: skip
def test_an_engine_that_misbehaves(tmp_path: Path, said: bytes | None) -> None:
    """Whatever it does, the question ends with an error that blames it."""
    with pytest.raises(Upstream, match="Docker engine"):
        run(asked(tmp_path / "s", lambda _: said))


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    """The error names the socket, and what to do."""
    engine = DockerEngine(tmp_path / "none", clock=SystemClock(), keep=KEEP)
    with pytest.raises(Upstream, match="cannot be reached") as caught:
        run(engine.at("172.17.0.2"))
    assert "mount its socket" in caught.value.hint


def test_a_crowd_waits_in_turn_and_no_longer_than_each_may(tmp_path: Path) -> None:
    """An engine that is silent is asked a few things at once; who waits for a turn is told, too, and in time."""
    serving: list[asyncio.Task[Any] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        await reader.read()
        writer.close()
        await writer.wait_closed()

    async def main() -> list[ContainerFacts | BaseException]:
        async with await asyncio.start_unix_server(serve, tmp_path / "s"):
            engine = DockerEngine(tmp_path / "s", clock=SystemClock(), keep=KEEP, timeout=0.3)
            asking = [engine.at("172.17.0.2") for _ in range(5 * AT_ONCE)]
            found = await asyncio.gather(*asking, return_exceptions=True)
            await asyncio.gather(*(task for task in serving if task), return_exceptions=True)
            return found

    assert {type(found) for found in asyncio.run(main())} == {Upstream}
    assert len(serving) <= 2 * AT_ONCE
