"""AWSIAMRoles brought together with their Secrets, over objects in memory and in virtual time."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from object_api import ObjectApi, Thing, refused
from rolecall.core.grant import Hop
from rolecall.core.source import Issued
from rolecall.daemons.controller import wire
from rolecall.daemons.controller.events import Recorder
from rolecall.daemons.controller.lease.leader import NotLeading
from rolecall.daemons.controller.queue import Queue
from rolecall.daemons.controller.reconcile import Reconciler
from rolecall.daemons.controller.saying import Saying
from rolecall.daemons.controller.stores import Namespaces, Roles, Secrets
from rolecall.edges.limits import TokenBucket
from rolecall.edges.telemetry import Log
from rolecall.errors import UpstreamAnswered
from rolecall.mechanisms.metadata_proxy.settings import SecretFiles
from rolecall.testing.fake_clock import FakeClock
from rolecall.testing.fake_source import issued

BASE = "arn:aws:iam::123456789012:role/"
ROLES = "/apis/zalando.org/v1/namespaces/shop/awsiamroles"
SECRETS = "/api/v1/namespaces/shop/secrets"
EVENTS = "/api/v1/namespaces/shop/events"
LIST = "iam.amazonaws.com/allowed-roles"
RESYNC = 600.0


class Cluster:
    """A controller without a process: what changes is put into its stores as a watch would, `lag` seconds later."""

    def __init__(self, **rules: Any) -> None:
        self.clock = FakeClock()
        self.api = ObjectApi(self.clock)
        self.api.told = self._changed
        self.lag = self.role_lag = 0.0
        self.sts: list[tuple[float, Hop]] = []
        self.denied: dict[str, Exception] = {}
        self.life: float | None = None
        log = Log("rolecall.test")
        self.roles, self.secrets = Roles(self._add), Secrets(self._add)
        self.namespaces = Namespaces(LIST, lambda name: [self._add(seen.key) for seen in self.roles])
        numbers = iter(range(10_000))
        self.recorder = Recorder(self.api, "one", clock=self.clock, suffix=lambda: str(next(numbers)), log=log)
        self.reconciler = Reconciler(
            SecretFiles(BASE, **rules), self.api, self.assume,
            Saying(self.api, self.recorder, self.roles, clock=self.clock, log=log),
            TokenBucket(rate=10, burst=20, clock=self.clock),
            roles=self.roles, secrets=self.secrets, namespaces=self.namespaces,
            clock=self.clock, log=log, resync=RESYNC, dice=lambda: 1.0,
        )  # fmt: skip
        self.queue = Queue(self.reconciler, workers=4, clock=self.clock, dice=lambda: 1.0, log=log)
        self.namespaces.put(("shop", None))

    def run(self, scenario: Callable[[Cluster], Awaitable[None]]) -> None:
        async def main() -> None:
            task = asyncio.create_task(self.queue.run())
            try:
                await scenario(self)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        asyncio.run(main())

    async def assume(self, hop: Hop) -> Issued:
        self.sts.append((self.clock.monotonic(), hop))
        await self.clock.sleep(0.1)
        if (error := self.denied.get(hop.role.name)) is not None:
            raise error
        return issued(f"s{len(self.sts)}", self.clock.now() + (self.life or hop.session.duration))

    def _add(self, key: tuple[str, str]) -> None:
        self.queue.add(key)

    def _changed(self, kind: str, path: str, thing: Thing) -> None:
        store, read = {
            ROLES: (self.roles, wire.read_role), SECRETS: (self.secrets, wire.read_secret)
        }.get(path.rpartition("/")[0], (None, None))  # fmt: skip
        if store is None or read is None:
            return
        found = read(json.dumps(thing).encode())
        watched = store is self.roles or thing["metadata"].get("labels", {}).get("type") == "awsiamrole"
        if watched:
            asyncio.get_running_loop().create_task(
                self._arrive(getattr(store, kind), found, self.role_lag if store is self.roles else 0.0)
            )

    async def _arrive(self, take: Callable[[Any], None], found: Any, more: float) -> None:
        await self.clock.sleep(self.lag + more)
        take(found)

    # --- as somebody else ---

    def ask(self, reference: str, name: str = "app", generation: int = 1, **spec: Any) -> None:
        meta = {"name": name, "generation": generation}
        kind = {"apiVersion": "zalando.org/v1", "kind": "AWSIAMRole"}
        self.api.put(ROLES, {**kind, "metadata": meta, "spec": {"roleReference": reference, **spec}})

    def secret(self, name: str = "app") -> dict[str, str]:
        data = self.api.objects[f"{SECRETS}/{name}"]["data"]
        return {key: base64.b64decode(text).decode() for key, text in data.items()}

    def has(self, name: str = "app") -> bool:
        return f"{SECRETS}/{name}" in self.api.objects

    def status(self, name: str = "app") -> Thing:
        return self.api.objects[f"{ROLES}/{name}"].get("status", {})

    def ready(self, name: str = "app") -> tuple[str, str]:
        (condition,) = self.status(name)["conditions"]
        return condition["status"], condition["reason"]

    def events(self) -> list[tuple[str, int]]:
        return [(one["reason"], one["count"]) for path, one in self.api.objects.items() if path.startswith(EVENTS)]

    def writes(self) -> list[tuple[str, str]]:
        return [call for call in self.api.calls if call[0] != "GET" and not call[1].startswith(EVENTS)]


def denial(code: str = "AccessDenied", status: int = 403) -> UpstreamAnswered:
    return UpstreamAnswered(status=status, code=code, message="not authorized")


def test_a_session_is_asked_for_once_in_its_time() -> None:
    """For hours: an hour's session comes every forty minutes, fifteen minutes' every five, and nothing is written
    between."""

    async def scenario(cluster: Cluster) -> None:
        cluster.ask("carts")
        cluster.ask("web", "short", roleSessionDuration=900)
        await cluster.clock.advance(5 * 3600.0)
        times = {name: [at for at, hop in cluster.sts if hop.role.name == name] for name in ("carts", "web")}
        gaps = {name: [after - before for before, after in itertools.pairwise(found)] for name, found in times.items()}
        assert all(2400.0 - 180.0 - 2 <= gap <= 2402.0 for gap in gaps["carts"])
        assert all(298.0 <= gap <= 302.0 for gap in gaps["web"])
        assert len(times["carts"]) > 6
        # Each session: the Secret, and the status.
        assert len(cluster.writes()) == 2 * len(cluster.sts)
        assert cluster.ready() == ("True", "CredentialsIssued")
        assert cluster.status()["expiration"] == cluster.secret()["expire"]

    Cluster().run(scenario)


def test_a_session_shorter_than_asked_for_is_renewed_in_time() -> None:
    """As when the controller's own keys have become a role's: twelve hours are asked for, and one is given."""

    async def scenario(cluster: Cluster) -> None:
        cluster.life = 3600.0
        cluster.ask("carts", roleSessionDuration=43_200)
        for _ in range(40):
            await cluster.clock.advance(600.0)
            ends = datetime.fromisoformat(cluster.secret()["expire"]).timestamp()
            assert ends > cluster.clock.now()
        assert len(cluster.sts) <= 24_000 / 1200 + 1

    Cluster().run(scenario)


def test_an_end_that_cannot_be_is_no_reason_for_a_storm() -> None:
    """Sessions of a minute where an hour was asked for, or a clock that is an hour ahead: one in twenty minutes."""

    async def scenario(cluster: Cluster) -> None:
        cluster.life = 60.0
        cluster.ask("carts")
        await cluster.clock.advance(3600.0)
        assert 3 <= len(cluster.sts) <= 4
        cluster.life, before = None, len(cluster.sts)
        cluster.ask("carts", generation=2)  # a change is acted on at once
        await cluster.clock.advance(5.0)
        assert cluster.secret()["awsiamrole-generation"] == "2"
        secret = cluster.api.objects[f"{SECRETS}/app"]
        secret["data"]["expire"] = base64.b64encode(b"2023-11-14T22:13:20Z").decode()
        cluster.api.put(SECRETS, secret)  # and so is what somebody does to the Secret
        await cluster.clock.advance(5.0)
        assert len(cluster.sts) == before + 2

    Cluster().run(scenario)


def test_a_late_watch_costs_no_second_session() -> None:
    """What was written is known before its echo comes."""

    async def scenario(cluster: Cluster) -> None:
        cluster.lag = 5.0
        cluster.ask("carts")
        await cluster.clock.advance(60.0)
        assert len(cluster.sts) == 1
        cluster.ask("carts", generation=2)
        await cluster.clock.advance(60.0)
        assert len(cluster.sts) == 2
        assert cluster.secret()["awsiamrole-generation"] == "2"

    Cluster().run(scenario)


def test_a_change_of_somebody_else_does_not_cost_the_session() -> None:
    """Another label on the Secret between our look and our write: written over the newer one, with what STS gave."""

    async def scenario(cluster: Cluster) -> None:
        cluster.ask("carts")
        await cluster.clock.advance(5.0)
        cluster.lag = 1000.0  # the watch is stuck
        secret = cluster.api.objects[f"{SECRETS}/app"]
        secret["metadata"]["annotations"] = {"theirs": "1"}
        cluster.api.put(SECRETS, secret)
        await cluster.clock.advance(3000.0)
        assert len(cluster.sts) == 2
        assert cluster.api.objects[f"{SECRETS}/app"]["metadata"]["annotations"] == {"theirs": "1"}
        assert "session-of-s2" in cluster.secret()["credentials"]

    Cluster().run(scenario)


def test_a_denial_is_tried_again_slowly_and_told_once() -> None:
    """An hour of denials is a dozen calls and one Event, not 360 of each; what is held stays for its life."""

    async def scenario(cluster: Cluster) -> None:
        cluster.ask("carts")
        await cluster.clock.advance(5.0)
        held = cluster.secret()
        cluster.denied["carts"] = denial()
        await cluster.clock.advance(2400.0)
        before = len(cluster.sts)
        await cluster.clock.advance(3600.0)
        assert len(cluster.sts) - before <= 15
        assert cluster.secret() == held
        assert cluster.ready() == ("False", "AccessDenied")
        assert cluster.status()["roleARN"] == BASE + "carts"
        told = dict(cluster.events())
        assert told["CreateCredentials"] == 1
        assert told["GetCredentialsFailed"] > 1
        assert len(cluster.events()) == 2
        cluster.denied.clear()
        await cluster.clock.advance(310.0)
        assert cluster.ready() == ("True", "CredentialsIssued")

    Cluster().run(scenario)


def test_one_that_fails_keeps_no_other_waiting() -> None:
    """Fifty that STS refuses, and one that it does not."""

    async def scenario(cluster: Cluster) -> None:
        for number in range(50):
            cluster.denied[f"no-{number}"] = denial()
            cluster.ask(f"no-{number}", f"no-{number}")
        cluster.ask("carts")
        await cluster.clock.advance(10.0)
        assert cluster.has()
        rate = [at for at, _ in cluster.sts]
        assert len([at for at in rate if at < 1.0]) <= 31  # 20 at once, then 10 a second

    Cluster().run(scenario)


def test_a_foreign_secret_is_never_written() -> None:
    """Neither where it is there before, nor where it comes between the look and the write; STS is not asked first."""

    async def scenario(cluster: Cluster) -> None:
        cluster.api.put(SECRETS, {"metadata": {"name": "app"}, "data": {"password": "eHl6enk="}})
        cluster.ask("carts")
        await cluster.clock.advance(1500.0)
        assert cluster.secret() == {"password": "xyzzy"}
        assert not cluster.sts
        assert cluster.ready() == ("False", "ForeignSecret")
        assert [reason for reason, _ in cluster.events()] == ["CreateSecretFailed"]
        cluster.api.drop(f"{SECRETS}/app")
        await cluster.clock.advance(RESYNC + 5)
        assert cluster.secret()["role-arn"] == BASE + "carts"

        def meanwhile(method: str, path: str) -> None:
            if method == "POST" and path == SECRETS and not cluster.has("late"):
                cluster.api.put(SECRETS, {"metadata": {"name": "late"}, "data": {}})

        cluster.api.fail = meanwhile
        cluster.ask("carts", "late")
        await cluster.clock.advance(60.0)
        assert cluster.secret("late") == {}
        assert cluster.ready("late") == ("False", "ForeignSecret")

    Cluster().run(scenario)


def test_what_is_deleted() -> None:
    """The Secret of an AWSIAMRole that is gone; never a labelled one of nobody, and none whose AWSIAMRole is there
    though the watch has not brought it yet."""

    async def scenario(cluster: Cluster) -> None:
        cluster.ask("carts")
        await cluster.clock.advance(5.0)
        cluster.api.drop(f"{ROLES}/app")
        await cluster.clock.advance(5.0)
        assert not cluster.has()
        labels = {"heritage": "kube-aws-iam-controller", "type": "awsiamrole"}
        cluster.api.put(SECRETS, {"metadata": {"name": "nobodys", "labels": labels}, "data": {}})
        cluster.role_lag = 3.0
        cluster.ask("carts")
        uid = cluster.api.objects[f"{ROLES}/app"]["metadata"]["uid"]
        owner = {"apiVersion": "zalando.org/v1", "kind": "AWSIAMRole", "name": "app", "uid": uid}
        meta = {"name": "app", "labels": labels, "ownerReferences": [owner]}
        made = cluster.api.put(SECRETS, {"metadata": meta, "data": {}})["metadata"]["uid"]
        await cluster.clock.advance(30.0)
        assert cluster.has("nobodys")
        assert cluster.api.objects[f"{SECRETS}/app"]["metadata"]["uid"] == made
        assert cluster.secret()["role-arn"] == BASE + "carts"
        assert cluster.reconciler.deleted == 1

    Cluster().run(scenario)


def test_the_former_ones_secret_is_replaced() -> None:
    """An AWSIAMRole that was deleted and made anew before its Secret was collected gets one of its own."""

    async def scenario(cluster: Cluster) -> None:
        cluster.ask("carts")
        await cluster.clock.advance(5.0)
        uid = cluster.api.objects[f"{SECRETS}/app"]["metadata"]["uid"]
        del cluster.api.objects[f"{ROLES}/app"]  # without a word, as while a watch is cut
        cluster.ask("carts")
        await cluster.clock.advance(5.0)
        secret = cluster.api.objects[f"{SECRETS}/app"]["metadata"]
        assert secret["uid"] != uid
        assert secret["ownerReferences"][0]["uid"] == cluster.api.objects[f"{ROLES}/app"]["metadata"]["uid"]

    Cluster().run(scenario)


def foreign(name: str = "app") -> Thing:
    """Return a Secret of somebody else."""
    return {"metadata": {"name": name, "labels": {"team": "other"}}, "data": {"password": "eHl6enk="}}


def test_a_deletion_is_of_what_was_seen() -> None:
    """Somebody puts a Secret of their own in the place of ours while the watch is late: it stays."""

    async def scenario(cluster: Cluster) -> None:
        cluster.ask("carts")
        await cluster.clock.advance(5.0)
        cluster.lag, cluster.role_lag = 50.0, -50.0
        cluster.api.drop(f"{SECRETS}/app")
        cluster.api.put(SECRETS, foreign())
        cluster.api.drop(f"{ROLES}/app")
        await cluster.clock.advance(200.0)
        assert cluster.secret() == {"password": "xyzzy"}
        assert ("DELETE", f"{SECRETS}/app") in cluster.api.calls

    Cluster().run(scenario)


def test_a_write_is_over_what_was_seen() -> None:
    """The same between our look and our write: what STS gave is dropped."""

    async def scenario(cluster: Cluster) -> None:
        cluster.ask("carts")
        await cluster.clock.advance(5.0)

        def replaced(method: str, path: str) -> None:
            if method == "PATCH" and path == f"{SECRETS}/app" and len(cluster.secret()) > 1:
                cluster.api.drop(path)
                cluster.api.put(SECRETS, foreign())

        cluster.api.fail = replaced
        cluster.ask("carts", generation=2)
        await cluster.clock.advance(100.0)
        assert cluster.secret() == {"password": "xyzzy"}
        assert cluster.ready() == ("False", "ForeignSecret")

    Cluster().run(scenario)


def test_a_secret_that_is_newer_than_what_is_known_stays() -> None:
    """Another leader has made one for an AWSIAMRole that this one's watch has not brought yet."""

    async def scenario(cluster: Cluster) -> None:
        cluster.ask("carts")
        await cluster.clock.advance(5.0)
        cluster.role_lag = 20.0
        cluster.api.drop(f"{ROLES}/app")
        cluster.ask("carts")
        uid = cluster.api.objects[f"{ROLES}/app"]["metadata"]["uid"]
        secret = cluster.api.objects[f"{SECRETS}/app"]
        secret["metadata"]["ownerReferences"][0]["uid"] = uid
        cluster.api.put(SECRETS, secret)
        await cluster.clock.advance(10.0)
        assert cluster.reconciler.deleted == 0
        await cluster.clock.advance(30.0)
        assert cluster.reconciler.deleted == 0
        assert cluster.ready() == ("True", "CredentialsIssued")

    Cluster().run(scenario)


def test_a_status_is_of_the_one_that_was_seen() -> None:
    """An AWSIAMRole that was made anew is not told what its former self was."""

    async def scenario(cluster: Cluster) -> None:
        cluster.role_lag = 20.0
        cluster.ask("bad role")
        await cluster.clock.advance(19.0)
        del cluster.api.objects[f"{ROLES}/app"]
        cluster.ask("carts")
        await cluster.clock.advance(10.0)
        assert not cluster.status()
        await cluster.clock.advance(30.0)
        assert cluster.ready() == ("True", "CredentialsIssued")

    Cluster().run(scenario)


def test_one_whose_deletion_has_begun_gets_nothing_new() -> None:
    """A finalizer keeps it: what it has it keeps, and nothing is renewed."""

    async def scenario(cluster: Cluster) -> None:
        cluster.ask("carts")
        await cluster.clock.advance(5.0)
        role = cluster.api.objects[f"{ROLES}/app"]
        role["metadata"] |= {"deletionTimestamp": "2023-11-14T22:13:30Z", "generation": 2}
        cluster.api.put(ROLES, role)
        await cluster.clock.advance(7200.0)
        assert len(cluster.sts) == 1
        assert cluster.has()

    Cluster().run(scenario)


def test_a_list_takes_away_and_a_mistake_does_not() -> None:
    """A namespace that may not have a role any more loses its Secret at once; one whose list is broken keeps it."""

    async def scenario(cluster: Cluster) -> None:
        cluster.ask("carts")
        await cluster.clock.advance(5.0)
        cluster.namespaces.put(("shop", "carts"))
        await cluster.clock.advance(5.0)
        assert cluster.has()
        assert cluster.ready() == ("False", "BadList")
        cluster.namespaces.put(("shop", '["web"]'))
        await cluster.clock.advance(5.0)
        assert not cluster.has()
        assert cluster.ready() == ("False", "NamespaceForbids")
        assert "roleARN" not in cluster.status()
        cluster.namespaces.put(("shop", '["carts"]'))
        await cluster.clock.advance(5.0)
        assert cluster.has()
        assert {reason for reason, _ in cluster.events()} == {"CreateCredentials", "RoleRefused"}

    Cluster().run(scenario)


def test_a_namespace_that_is_not_known_yet_is_waited_for() -> None:
    """Its event comes late: nothing is issued before, and nothing is said."""

    async def scenario(cluster: Cluster) -> None:
        cluster.namespaces.replace([])
        cluster.ask("carts")
        await cluster.clock.advance(3.5)
        assert not cluster.sts
        assert not cluster.status()
        cluster.namespaces.put(("shop", None))
        await cluster.clock.advance(1.0)
        assert cluster.has()

    Cluster().run(scenario)


def test_a_write_that_fails_is_told_and_tried_again() -> None:
    """Where the API server will not have the Secret, or nobody may write any more, nothing is lost but a session."""

    async def scenario(cluster: Cluster) -> None:
        cluster.api.fail = lambda method, path: (
            refused(403, "Forbidden") if (method, path) == ("POST", SECRETS) else None
        )
        cluster.ask("carts")
        await cluster.clock.advance(2.0)
        assert cluster.ready() == ("False", "SecretNotWritten")
        assert ("CreateSecretFailed", 1) in cluster.events()
        cluster.api.fail = lambda method, _path: NotLeading("another leads") if method != "GET" else None
        await cluster.clock.advance(5.0)
        assert not cluster.has()
        cluster.api.fail = lambda *_: None
        await cluster.clock.advance(300.0)
        assert cluster.ready() == ("True", "CredentialsIssued")

    Cluster().run(scenario)


def test_a_definition_without_conditions_does_not_cost_a_loop() -> None:
    """The original's resource drops conditions: the status is written again when one is looked at, and not for ever."""

    async def scenario(cluster: Cluster) -> None:
        def prune(kind: str, path: str, thing: Thing) -> None:
            thing.get("status", {}).pop("conditions", None)
            Cluster._changed(cluster, kind, path, thing)

        cluster.api.told = prune
        cluster.ask("carts")
        await cluster.clock.advance(2000.0)
        assert len(cluster.sts) == 1
        assert len([path for method, path in cluster.api.calls if path.endswith("/status")]) <= 6

    Cluster().run(scenario)


def test_no_secret_is_in_what_is_said() -> None:
    """Neither in statuses nor in Events; log lines are looked at by the test run itself."""

    async def scenario(cluster: Cluster) -> None:
        cluster.ask("carts")
        await cluster.clock.advance(5.0)
        said = [thing for path, thing in cluster.api.objects.items() if not path.startswith(SECRETS)]
        assert "secret-of" not in json.dumps(said)
        assert "session-of" not in json.dumps(said)
        assert "secret-of" not in repr(list(cluster.secrets))

    Cluster().run(scenario)
