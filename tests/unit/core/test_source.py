"""The joints: gather, decide, issue, in this order, and nothing issued without a grant."""

from __future__ import annotations

import asyncio

import pytest

from rolecall.core.credentials import Credentials
from rolecall.core.grant import Decision, Grant, Hop, Refusal
from rolecall.core.names import AccountId, ClusterName, RoleArn
from rolecall.core.secrets import Secret
from rolecall.core.session import SessionSpec
from rolecall.core.source import Ask, Issued, Source, decided
from rolecall.errors import Refused, Upstream

ROLE = RoleArn.parse("arn:aws:iam::123456789012:role/carts-dynamo")
SPEC = SessionSpec("session", 900)
GRANT = Grant((Hop(ROLE, SPEC),), ("association a-1",))
REFUSAL = Refusal("no-association", "there is none", "create one", ("a", "b"))
ISSUED = Issued(
    Credentials("ASIA", Secret("s"), Secret("t"), 1.0, AccountId("123456789012")),
    ROLE.session("session"),
    "AROA:session",
)
ASK = Ask(token=Secret("token"), peer="10.0.0.1", cluster=ClusterName("demo"), role=ROLE)


class World:
    """Keeps a diary of what was asked of it, and answers or fails as it was told."""

    def __init__(self, decision: Decision, *, fails: str = "") -> None:
        self.diary: list[tuple[object, ...]] = []
        self.decision = decision
        self.fails = fails

    def _note(self, step: str, *seen: object) -> None:
        self.diary.append((step, *seen))
        if self.fails == step:
            raise Upstream(f"{step} failed")

    async def gather(self, ask: Ask) -> str:
        """Fill the facts."""
        await asyncio.sleep(0)
        self._note("gather", ask)
        return "facts"

    def decide(self, ask: Ask, facts: str) -> Decision:
        """Judge them."""
        self._note("decide", ask, facts)
        return self.decision

    async def issue(self, ask: Ask, facts: str, grant: Grant) -> Issued:
        """Hand out."""
        await asyncio.sleep(0)
        self._note("issue", ask, facts, grant)
        return ISSUED

    def source(self) -> Source:
        """Return the source under test."""
        return decided(self.gather, self.decide, self.issue)


def ask(source: Source) -> Issued:
    """Ask once."""

    async def asking() -> Issued:
        return await source(ASK)

    return asyncio.run(asking())


def test_a_grant_is_issued() -> None:
    """Each step sees the ask and what came before it, once; what is issued is handed on as it is."""
    world = World(GRANT)
    assert ask(world.source()) is ISSUED
    assert world.diary == [("gather", ASK), ("decide", ASK, "facts"), ("issue", ASK, "facts", GRANT)]


def test_a_refusal_issues_nothing() -> None:
    """The refusal is raised whole, and nobody is asked for credentials."""
    world = World(REFUSAL)
    with pytest.raises(Refused, match="there is none") as caught:
        ask(world.source())
    assert caught.value.refusal is REFUSAL
    assert caught.value.hint == "create one"
    assert [step for step, *_ in world.diary] == ["gather", "decide"]


@pytest.mark.parametrize("step", ["gather", "decide", "issue"])
def test_a_failure_ends_it(step: str) -> None:
    """An error of any step goes through unchanged, and no later step runs."""
    world = World(GRANT, fails=step)
    with pytest.raises(Upstream, match=f"{step} failed"):
        ask(world.source())
    assert world.diary[-1][0] == step


def test_one_source_serves_many() -> None:
    """It keeps nothing between asks: each is gathered and judged anew."""
    world = World(GRANT)
    source = world.source()
    ask(source)
    world.decision = REFUSAL
    with pytest.raises(Refused):
        ask(source)
    assert [step for step, *_ in world.diary] == ["gather", "decide", "issue", "gather", "decide"]


def test_an_ask_does_not_show_its_token() -> None:
    """An ask is logged; its token is not."""
    assert "'token'" not in repr(ASK)
    assert "10.0.0.1" in repr(ASK)
