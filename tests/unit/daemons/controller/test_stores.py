"""What the watches know: who is told of what, and what an echo may not undo."""

from __future__ import annotations

from dataclasses import replace

from rolecall.daemons.controller.queue import Key
from rolecall.daemons.controller.stores import Namespaces, Roles, Secrets
from rolecall.daemons.controller.wire import Seen, State
from rolecall.mechanisms.metadata_proxy.secret_files import Held, Resource

APP = Seen(Resource("shop", "app", "uid-1", 1, "carts"), State())
HELD = Held("shop", "app", "s-1", "9", frozenset({"uid-1"}), "arn", 1.0, 1, complete=True)
KEY = ("shop", "app")


def test_an_awsiamrole_that_asks_for_the_same_tells_nobody() -> None:
    """Our own status comes back by the watch: looking again would be a loop."""
    told: list[Key] = []
    roles = Roles(told.append)
    roles.put(APP)
    roles.put(replace(APP, state=State(generation=1, ready=True)))
    assert told == [KEY]
    assert roles.get(KEY) == replace(APP, state=State(generation=1, ready=True))
    roles.put(replace(APP, resource=replace(APP.resource, reference="web")))
    roles.replace([])
    assert told == [KEY] * 3
    assert roles.get(KEY) is None


def test_an_older_echo_does_not_undo_a_write() -> None:
    """What was written counts until the watch has it; a Secret of another uid does not end this one."""
    told: list[Key] = []
    secrets = Secrets(told.append)
    secrets.put(HELD)
    newer = replace(HELD, version="12", expires_at=99.0)
    secrets.put(newer)
    secrets.put(replace(HELD, version="10"))
    secrets.put(newer)
    assert secrets.get(KEY) == newer
    assert told == [KEY] * 2
    secrets.replace([replace(HELD, version="3")])  # a list is what there is
    assert secrets.get(KEY) == replace(HELD, version="3")
    secrets.put(newer)
    secrets.drop(replace(HELD, uid="another"))
    assert secrets.get(KEY) == newer
    secrets.drop(replace(newer, version="13"))
    assert secrets.get(KEY) is None


def test_namespaces_tell_of_their_lists() -> None:
    """Of one that is new, and of one whose list is another; a namespace that is gone is not known."""
    told: list[str] = []
    namespaces = Namespaces("key", told.append)
    namespaces.put(("shop", None))
    namespaces.put(("shop", None))
    namespaces.put(("shop", "[]"))
    assert told == ["shop", "shop"]
    assert namespaces.get("shop") == {"key": "[]"}
    namespaces.replace([("web", None)])
    assert namespaces.get("shop") is None
    assert namespaces.get("web") == {}
