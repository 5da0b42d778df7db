"""Service accounts: what is kept of them, and how many there are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall.daemons.webhook.sources.accounts import Account, Accounts
from rolecall.daemons.webhook.sources.look_ups import LookUpRules
from rolecall.edges.kube.client import METADATA, ApiError
from rolecall.edges.kube.wire import HasMeta, Meta, Status
from rolecall.testing.fake_clock import FakeClock

ROLE = "eks.amazonaws.com/role-arn"


class Api:
    """Has one service account."""

    def __init__(self, there: Mapping[str, str] | None) -> None:
        self.there, self.asked = there, [""]

    async def get(self, path: str, query: object = (), *, accept: str = "", timeout: float = 1.0) -> bytearray:
        self.asked = [path, accept]
        if self.there is None:
            raise ApiError(404, Status(404, "NotFound"))
        found = {"metadata": {"name": "carts", "namespace": "carts", "annotations": self.there}}
        return bytearray(json.dumps(found).encode())


def accounts(there: Mapping[str, str] | None = None) -> Accounts:
    return Accounts(Api(there), prefix="eks.amazonaws.com", clock=FakeClock(), rules=LookUpRules())


def test_only_what_decides_is_kept() -> None:
    store = accounts()
    meta = Meta(name="carts", namespace="shop", annotations={ROLE: "arn", "kubectl.kubernetes.io/last": "x" * 9000})
    store.put(store.kept(HasMeta(meta)))
    assert store.find("shop", "carts") == {ROLE: "arn"}
    assert store.kept(HasMeta(Meta(name="a", annotations={ROLE: "x" * 3000}))).annotations == {}
    assert store.find("shop", "cart") is None
    assert store.find("carts", "carts") is None


def test_one_is_asked_for_as_the_watch_lists_them() -> None:
    async def scene() -> None:
        store = accounts({ROLE: "arn", "other": "x"})
        assert await store.look_up("carts", "carts") == {ROLE: "arn"}
        assert store._api.asked == ["/api/v1/namespaces/carts/serviceaccounts/carts", METADATA]
        assert await accounts(None).look_up("carts", "carts") is None

    asyncio.run(scene())


@pytest.mark.parametrize("name", ["", "..", "a/token", "../../secrets/a", "a%2Fb", "a?b", "A"])
def test_what_is_no_name_is_not_put_into_a_path(name: str) -> None:
    """Whoever reaches the port may say anything: the webhook's rights are not for him to point at."""

    async def scene() -> None:
        store = accounts({ROLE: "arn"})
        assert await store.look_up("carts", name) is None
        assert await store.look_up(name, "carts") is None
        assert store._api.asked == [""]

    asyncio.run(scene())


def test_a_refusal_is_not_taken_for_absence() -> None:
    async def scene() -> None:
        store = accounts({})

        async def get(*_: object, **__: object) -> bytearray:
            raise ApiError(403, Status(403, "Forbidden", "no"))

        store._api.get = get
        with pytest.raises(ApiError, match="no"):
            await store.look_up("carts", "carts")

    asyncio.run(scene())


Names = st.sampled_from(["a", "b", "c"])
Changes = st.lists(st.tuples(st.sampled_from(["put", "drop", "replace"]), Names, Names), max_size=30)


@given(Changes)
def test_it_holds_what_a_dictionary_would(changes: list[tuple[str, str, str]]) -> None:
    store, model = accounts(), dict[tuple[str, str], Mapping[str, str]]()
    for number, (what, namespace, name) in enumerate(changes):
        one = Account(namespace, name, {ROLE: str(number)})
        if what == "put":
            store.put(one)
            model[namespace, name] = one.annotations
        elif what == "drop":
            store.drop(one)
            model.pop((namespace, name), None)
        else:
            store.replace([one])
            model = {(namespace, name): one.annotations}
        assert len(store) == len(model)
        found = {(ns, sa): store.find(ns, sa) for ns in "abc" for sa in "abc"}
        assert {key: value for key, value in found.items() if value is not None} == model
