"""Warm restart: what one agent held is handed out by the next one, to the same tokens of pods that live."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall.core.secrets import Secret
from rolecall.core.source import Ask
from rolecall.daemons.agent.warm.restart import EVERY, WarmRestart
from rolecall.daemons.agent.warm.wire import NotReadable, Reader, decode, encode
from rolecall.edges.cache import CredentialCache
from rolecall.edges.cache_entry import Kept
from rolecall.edges.telemetry import Log
from rolecall.edges.warm_file import WarmFile
from rolecall.errors import Upstream, UpstreamAnswered
from rolecall.testing.fake_clock import FakeClock
from rolecall.testing.fake_source import FakeSource, issued

READER = Reader("demo", "us-west-2", "", "node-1")


def token(pod: str) -> str:
    """Return a token that is bound to a pod of that UID."""
    parts = ({"alg": "RS256"}, {"kubernetes.io": {"pod": {"name": pod, "uid": f"uid-{pod}"}}})
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join((*texts, "c2ln"))


def ask(pod: str) -> Ask:
    """Return what that pod asks."""
    return Ask(token=Secret(token(pod)), peer="10.0.0.1")


class Agent:
    """A cache with a warm file, over an upstream that the test turns on and off."""

    def __init__(self, directory: Path, clock: FakeClock, *, reader: Reader = READER) -> None:
        mounts = directory / "mountinfo"
        device = directory.stat().st_dev
        mounts.write_text(f"1 0 {os.major(device)}:{os.minor(device)} / / rw - tmpfs tmpfs rw\n")
        self.clock, self.source = clock, FakeSource(clock)
        self.alive, self.may = {"uid-a", "uid-b"}, True
        self.cache = CredentialCache(self.source, clock=clock, dice=lambda: 0.0)
        self.file = WarmFile(directory / "agent" / "warm", mounts=mounts)
        self.warm = WarmRestart(
            self.file, reader, self.cache, lives=self.alive.__contains__, may=lambda: self.may, clock=clock, log=Log()
        )
        self.warm.load()

    async def session(self, pod: str) -> str:
        """Ask, and return the name of the session."""
        return (await self.cache(ask(pod))).assumed_role_id


async def restarted(directory: Path, pods: Iterable[str] = "ab") -> Agent:
    """Return the agent after one that served these pods; upstream is away since."""
    clock = FakeClock()
    before = Agent(directory, clock)
    for pod in pods:
        await before.session(pod)
    await before.warm.save()
    agent = Agent(directory, clock)
    agent.source.failure = Upstream("no route")
    return agent


def test_a_pod_that_lives_gets_what_it_had(tmp_path: Path) -> None:
    """At once, without a call; upstream is asked in the background, and its answer replaces it."""

    async def scene() -> None:
        agent = await restarted(tmp_path)
        agent.cache.start()
        assert await agent.session("a") == "AROAEXAMPLE:s1"
        await agent.clock.advance(0.0)
        assert len(agent.source.asked) == 1, "it is to be confirmed as soon as that can be"
        assert await agent.session("a") == "AROAEXAMPLE:s1"
        agent.source.failure = None
        await agent.clock.advance(10.0)
        assert agent.cache.counters.renewals == 1
        await agent.cache.close()

    asyncio.run(scene())


def test_what_upstream_denies_is_taken_back(tmp_path: Path) -> None:
    """The confirmation in the background counts like any renewal."""

    async def scene() -> None:
        agent = await restarted(tmp_path)
        agent.source.failure = UpstreamAnswered(status=404, code="ResourceNotFoundException", message="none")
        agent.cache.start()
        assert await agent.session("a")
        await agent.clock.advance(0.0)
        with pytest.raises(UpstreamAnswered):
            await agent.session("a")
        await agent.cache.close()

    asyncio.run(scene())


@pytest.mark.parametrize("why", ["dead", "unsaid", "revoked", "over", "another token"])
def test_what_is_not_handed_out(tmp_path: Path, why: str) -> None:
    """Nothing to a pod of which nobody knows that it lives, nor what was revoked, nor to another token of the pod."""

    async def scene() -> None:
        agent = await restarted(tmp_path)
        asked = ask("a")
        if why == "dead":
            agent.alive.clear()
        elif why == "unsaid":
            agent.may = False
        elif why == "revoked":
            agent.cache.revoke_all()
        elif why == "over":
            await agent.clock.advance(3590.0)
        else:
            asked = Ask(token=Secret(token("a") + "x"), peer="10.0.0.1")
        with pytest.raises(Upstream):
            await agent.cache(asked)

    asyncio.run(scene())


def test_a_second_restart_has_what_nobody_asked_for_after_the_first(tmp_path: Path) -> None:
    """What waits is written again; what was handed out ends no later for it."""

    async def scene() -> None:
        agent = await restarted(tmp_path)
        await agent.session("a")
        await agent.warm.save()
        third = Agent(tmp_path, agent.clock)
        third.source.failure = Upstream("no route")
        assert [await third.session(pod) for pod in "ab"] == ["AROAEXAMPLE:s1", "AROAEXAMPLE:s2"]
        assert {round(held.ends_in) for held in third.cache.survey()} == {3585}

    asyncio.run(scene())


def test_it_is_written_while_the_agent_runs_and_what_is_revoked_is_not_kept(tmp_path: Path) -> None:
    """Who is killed tells nobody; what our own server took back is no longer there for a third agent."""

    async def scene() -> None:
        agent = await restarted(tmp_path)
        agent.warm.start()
        agent.source.failure = None
        await agent.session("c")
        await agent.clock.advance(EVERY + 1.0)
        killed = await written(agent, 3)
        agent.cache.revoke_all()
        await agent.clock.advance(EVERY + 1.0)
        assert await written(agent, 0) != killed
        await agent.warm.close()

    async def written(agent: Agent, entries: int) -> bytes:
        """Return the file once it has so many entries: it is written in a thread."""
        while len(decode(READER, agent.file.read() or b"")) != entries:  # noqa: ASYNC110 - a thread sets no event
            await asyncio.sleep(0.01)
        return agent.file.read() or b""

    asyncio.run(asyncio.wait_for(scene(), 20))


def test_no_token_is_in_the_file_and_another_agents_is_removed(tmp_path: Path) -> None:
    """The file has digests; credentials of one cluster are none of another's."""
    agent = asyncio.run(restarted(tmp_path))
    content = agent.file.path.read_bytes()
    assert token("a").encode() not in content
    assert sha256(token("a").encode()).hexdigest().encode() in content
    other = Agent(tmp_path, agent.clock, reader=Reader("other", "us-west-2", "", "node-1"))
    assert len(other.warm) == 0
    assert not other.file.path.exists()


ENTRIES = [
    Kept(sha256(name.encode()).digest(), issued(name, 5000.0), 4000.0 + number) for number, name in enumerate("abc")
]
WHOLE = b"".join(encode(READER, ENTRIES))


def test_the_format_goes_around() -> None:
    """Everything that was kept comes back."""
    assert decode(READER, WHOLE) == ENTRIES
    assert decode(READER, b"".join(encode(READER, []))) == []


@given(st.integers(0, len(WHOLE) - 1))
def test_a_truncated_file_is_not_read(length: int) -> None:
    """Wherever it was cut."""
    with pytest.raises(NotReadable):
        decode(READER, WHOLE[:length])


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255), st.binary(max_size=3))
def test_a_damaged_file_is_not_read(at: int, change: int, more: bytes) -> None:
    """One byte that differs, or bytes too many."""
    damaged = WHOLE[:at] + bytes([WHOLE[at] ^ change]) + WHOLE[at + 1 :]
    with pytest.raises(NotReadable):
        decode(READER, damaged + more)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(found: bytes) -> None:
    """Also under a seal that fits."""
    body = b"rolecall-warm-restart 1 " + found + b"\n"
    for bad in (found, body + f"end 0 {sha256(body).hexdigest()}\n".encode()):
        with pytest.raises(NotReadable):
            decode(READER, bad)
