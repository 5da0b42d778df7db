"""Who has an address, by a Docker engine that misbehaves. A real one answers in tests/docker."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rolecall.core.records import ContainerFacts
from rolecall.edges.clock import Clock, SystemClock
from rolecall.edges.docker.engine import AT_ONCE, LATELY, DockerEngine
from rolecall.errors import Upstream
from rolecall.testing.fake_clock import FakeClock

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


@dataclass
class FakeEngine:
    """An engine that says `say` of each path; None is silence. It answers `turns` times on one connection."""

    say: Callable[[str], bytes | None]
    turns: int = 1
    paths: list[str] = field(default_factory=list)
    serving: list[asyncio.Task[Any] | None] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection."""
        self.serving.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError):
            for _ in range(self.turns):
                head = await reader.readuntil(b"\r\n\r\n")
                self.paths.append(head.split(b" ")[1].decode())
                said = self.say(self.paths[-1])
                if said is None:
                    await reader.read()
                    break
                writer.write(said)
        writer.close()
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def serving(
    path: Path, fake: FakeEngine, clock: Clock | None = None, patience: float = 20.0
) -> AsyncIterator[DockerEngine]:
    """Serve such an engine; yield what asks it."""
    async with await asyncio.start_unix_server(fake, path):
        engine = DockerEngine(path, clock=clock or SystemClock(), keep=KEEP, timeout=patience)
        try:
            yield engine
        finally:
            engine.close()
            await asyncio.gather(*(task for task in fake.serving if task), return_exceptions=True)


async def asked(path: Path, say: Callable[[str], bytes | None], patience: float = 20.0) -> list[ContainerFacts]:
    """Ask an engine that says `say` of each path."""
    async with serving(path, FakeEngine(say), patience=patience) as engine:
        return await engine.at("172.17.0.2")


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
        run(asked(tmp_path / "s", lambda _: said, patience=0.5 if said is None else 20.0))


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    """The error names the socket, and what to do."""
    engine = DockerEngine(tmp_path / "none", clock=SystemClock(), keep=KEEP)
    with pytest.raises(Upstream, match="cannot be reached") as caught:
        run(engine.at("172.17.0.2"))
    assert "mount its socket" in caught.value.hint


def test_a_crowd_waits_in_turn_and_no_longer_than_each_may(tmp_path: Path) -> None:
    """An engine that is silent is asked a few things at once; who waits for a turn is told, too, and in time."""
    fake = FakeEngine(lambda _: None)

    async def main() -> list[ContainerFacts | BaseException]:
        async with serving(tmp_path / "s", fake, patience=0.5) as engine:
            asking = [engine.at("172.17.0.2") for _ in range(5 * AT_ONCE)]
            return await asyncio.gather(*asking, return_exceptions=True)

    assert {type(found) for found in asyncio.run(main())} == {Upstream}
    assert len(fake.serving) <= 2 * AT_ONCE


def test_the_same_container_is_looked_at_first_and_believed_only_as_it_is_now(tmp_path: Path) -> None:
    """For a second the list is left out; where the container has moved it is asked for at once. One connection does."""
    one, two = (f"/containers/{number}/json" for number in (ID, OTHER))
    answers = {"/containers/json": answer([listed(ID, "172.17.0.2")]), one: answer(inspected(ID, "172.17.0.2"))}
    fake, clock = FakeEngine(answers.get, turns=99), FakeClock()

    async def main() -> None:
        async with serving(tmp_path / "s", fake, clock) as engine:

            async def who() -> tuple[list[str], list[str]]:
                fake.paths.clear()
                return [found.id for found in await engine.at("172.17.0.2")], list(fake.paths)

            assert await who() == ([ID], ["/containers/json", one])
            assert await who() == ([ID], [one])
            answers["/containers/json"] = answer([listed(ID, "172.17.0.2"), listed(OTHER, "172.17.0.2")])
            answers[two] = answer(inspected(OTHER, "172.17.0.2"))
            await clock.advance(LATELY)
            assert await who() == ([ID, OTHER], ["/containers/json", one, two])
            answers["/containers/json"] = answer([listed(ID, "172.17.0.2")])
            assert await who() == ([ID], ["/containers/json", one])
            answers[one] = answer(inspected(ID, "172.17.0.9"))
            answers["/containers/json"] = answer([listed(OTHER, "172.17.0.2")])
            assert await who() == ([OTHER], [one, "/containers/json", two])
            assert len(fake.serving) == 1

    asyncio.run(main())


def test_a_connection_that_the_engine_has_closed_is_opened_again(tmp_path: Path) -> None:
    """As after its restart: no question is lost by it."""
    answers = {"/containers/json": answer([listed(ID, "172.17.0.2")])}
    answers[f"/containers/{ID}/json"] = answer(inspected(ID, "172.17.0.2"))
    fake = FakeEngine(answers.get, turns=3)

    async def main() -> None:
        async with serving(tmp_path / "s", fake) as engine:
            for _ in range(5):
                assert len(await engine.at("172.17.0.2")) == 1

    asyncio.run(main())
    assert len(fake.serving) == 2
