"""Facts are as new as the question: what a watch has not told of yet is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from rolecall.daemons.webhook.gather import Gatherer
from rolecall.daemons.webhook.rules import ConfigEntry, Facts
from rolecall.errors import Upstream

ROLE = "eks.amazonaws.com/role-arn"
ANNOTATED = {ROLE: "arn:aws:iam::123456789012:role/carts"}


class Accounts:
    """What the watch has told, and what there is."""

    name, fault = "service-accounts", ""

    def __init__(self, told: Mapping[str, str] | None, there: Mapping[str, str] | Exception | None) -> None:
        self.told, self.there, self.live, self.asked = told, there, True, 0
        self.listed = asyncio.Event()

    def __len__(self) -> int:
        return 1

    async def run(self) -> None:
        """Nothing."""

    def find(self, namespace: str, name: str) -> Mapping[str, str] | None:
        return self.told

    async def look_up(self, namespace: str, name: str) -> Mapping[str, str] | None:
        self.asked += 1
        if isinstance(self.there, Exception):
            raise self.there
        return self.there


class Associations(Accounts):
    """The same of associations."""

    name = "associations"


class Roles(Accounts):
    """The same of a ConfigMap, which nobody asks for one entry."""

    name = "config-map"


def gather(accounts: Accounts, associations: Associations | None = None, roles: Roles | None = None) -> Facts | str:
    gatherer = Gatherer(accounts, ROLE, [associations] if associations else [], roles)
    known = gatherer.known("carts", "carts")
    if known is not None:
        return known
    try:
        return asyncio.run(gatherer.ask("carts", "carts"))
    except Upstream as fault:
        return fault.message


def test_a_role_that_is_known_asks_nobody() -> None:
    accounts = Accounts(ANNOTATED, AssertionError())
    assert gather(accounts) == Facts(ANNOTATED)
    by_association = Associations("a-1", AssertionError())
    assert gather(Accounts({}, AssertionError()), by_association) == Facts({}, "a-1")
    entry = ConfigEntry("arn")
    assert gather(Accounts({}, AssertionError()), roles=Roles(entry, AssertionError())) == Facts({}, None, entry)


def test_what_the_watch_has_not_told_of_is_asked_for() -> None:
    assert gather(Accounts(None, ANNOTATED)) == Facts(ANNOTATED)
    assert gather(Accounts({}, ANNOTATED)) == Facts(ANNOTATED), "it was annotated a moment ago"
    assert gather(Accounts({}, {}), Associations(None, "a-1")) == Facts({}, "a-1")
    assert gather(Accounts(None, {}), Associations(None, "a-1")) == Facts({}, "a-1")
    assert gather(Accounts(None, None)) == Facts(None)


def test_an_association_that_is_known_is_not_asked_for_again() -> None:
    associations = Associations("a-1", AssertionError())
    assert gather(Accounts(None, {}), associations) == Facts({}, "a-1")
    assert associations.asked == 0


def test_where_nobody_answers_a_live_watch_counts() -> None:
    assert gather(Accounts({}, Upstream("away"))) == Facts({})
    assert gather(Accounts({}, {}), Associations(None, Upstream("away"))) == Facts({}, None)


@pytest.mark.parametrize("what", ["accounts", "associations"])
def test_where_nobody_answers_and_the_watch_is_cut_there_is_no_answer(what: str) -> None:
    """An answer would let a pod through without its role."""
    accounts = Accounts({}, Upstream("away") if what == "accounts" else {})
    associations = Associations(None, Upstream("away") if what == "associations" else None)
    accounts.live = associations.live = False
    assert gather(accounts, associations) == "away"


def test_an_account_that_was_never_seen_needs_an_answer() -> None:
    assert gather(Accounts(None, Upstream("away"))) == "away"


@pytest.mark.parametrize("live", [True, False])
def test_what_was_listed_while_nobody_answered_counts(live: bool) -> None:
    """A question takes its time to fail, and lists go on meanwhile."""

    class Listed(Associations):
        async def look_up(self, namespace: str, name: str) -> Mapping[str, str] | None:
            self.told, self.live = "a-1", live
            raise Upstream("away")

    gatherer = Gatherer(Accounts({}, {}), ROLE, [Listed(None, None)])
    assert asyncio.run(gatherer.ask("carts", "carts")) == Facts({}, "a-1")
    assert gatherer.unconfirmed == 0
