"""The metadata door with a thousand pods of a real API server, over real sockets, on a day when everything happens.

Pods start and ask before anybody has told of them, change their roles, end, and leave their addresses to the next; the
watch is late, ends, and loses its past. Each pod has roles of its own, so whoever is given another's is found out.

What the agent has been told is known (`LateWatch`): so the next pod comes to an address at the very moment when the
end of the last one has been told of, and no verdict hangs on how busy the machine is.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from cluster.control_plane import ControlPlane
from cluster.late_watch import LateWatch
from integration.dev_plane import wait_until
from integration.test_agent_process import agent
from rolecall.edges.kube.watch import WatchRules
from sdks import sts

pytestmark = pytest.mark.timeout(600)
SEED = int(os.environ.get("SEED", "1"))
PODS, WORKERS, TURNS = 1000, 16, 32
NODE, PATH = "crowded", "/api/v1/pods"
ROLES = "/latest/meta-data/iam/security-credentials/"
BASE = "arn:aws:iam::123456789012:role/"
NEEDED = {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["get", "list", "watch"]}
PROMISED = 0.5
"""Seconds that an event may be late without a pod's question being refused."""
STEADY = WatchRules().steady + 0.5
NEVER = float("inf")


@dataclass(eq=False)
class Pod:
    """What a pod really is. It is at its address from `since` to `until`; it has each role up to a moment, and may be
    given the role until then by whoever knows what the watch has told."""

    name: str
    since: float
    until: float = NEVER
    roles: dict[str, float] = field(default_factory=dict)
    role: str = ""
    steady: float = NEVER  # since when the agent knows it, and nothing of it changes


@dataclass
class Answer:
    """An answer, and when it was asked for and there."""

    asked: float
    come: float
    status: int
    role: str


class Sts(ThreadingHTTPServer):
    """STS, whose session tokens say which role they are of: at once, or after a while. `asked` counts by role."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.asked: Counter[str] = Counter()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Asked(sts.Sts):
    server: Sts

    def do_POST(self) -> None:
        """Give any role to anybody."""
        asked = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        arn = asked["RoleArn"][0]
        role = arn.removeprefix(BASE)
        self.server.asked[role] += 1
        time.sleep((0.0, 0.05, 0.2)[sum(role.encode()) % 3])
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        session = arn.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/s"
        key = "ASIAIOSFODNN7EXAMPLE"
        self.answer(sts.ANSWER.format(session=session, name="s", key=key, token=role, ends=ends).encode())


class Place:
    """One address, and all the pods that it has had."""

    def __init__(self, number: int) -> None:
        self.number, self.address = number, f"127.7.{number // 200}.{number % 200 + 1}"
        self.pods: list[Pod] = []

    def may_give(self, answer: Answer) -> set[str]:
        """Return the roles that this answer may be of: those of whoever was there while it was on its way."""
        there = [pod for pod in self.pods if pod.since <= answer.come and pod.until >= answer.asked]
        return {role for pod in there for role, lost in pod.roles.items() if lost >= answer.asked}


class Node:
    """The truth, and what happens to it. `wrong` are answers with another's role, `missed` refusals of pods that live;
    `late` counts the questions that came before the event that tells of their pod."""

    def __init__(self, plane: ControlPlane, namespace: str, watch: LateWatch, door: str) -> None:
        self.plane, self.pods, self.watch = plane, f"/api/v1/namespaces/{namespace}/pods", watch
        self.host, _, self.port = door.rpartition(":")
        self.places = [Place(number) for number in range(PODS)]
        self.wrong: list[str] = []
        self.missed: list[str] = []
        self.late = 0
        self.over = threading.Event()
        self._firsts = ThreadPoolExecutor(WORKERS)

    # --- what pods do ---

    def ask(self, place: Place, path: str = ROLES) -> Answer:
        """Ask from an address, and judge whose role is in the answer."""
        asked = time.monotonic()
        status, body = self._get(place.address, path)
        role = "" if status != 200 else body if path == ROLES else json.loads(body)["Token"]
        answer = Answer(asked, time.monotonic(), status, role)
        if role and role not in place.may_give(answer):
            self.wrong.append(f"{place.address} {path} {answer} {place.pods}")
        return answer

    def both(self, place: Place) -> list[Answer]:
        """Ask as an SDK does: for the name, then for the credentials."""
        answers = [self.ask(place)]
        if answers[0].role:
            answers.append(self.ask(place, ROLES + answers[0].role))
        return answers

    def curious(self, place: Place, dice: random.Random) -> None:
        """Ask for the own role, and for one that somebody else has had there or has elsewhere."""
        pod = place.pods[-1]
        answers = self.both(place)
        if pod.steady < answers[0].asked and pod is place.pods[-1] and pod.steady != NEVER:
            self.missed += [f"{pod} {answer}" for answer in answers if answer.status != 200]
        other = dice.choice([place, dice.choice(self.places)]).pods or place.pods
        self.ask(place, ROLES + next(iter(dice.choice(other).roles)))

    # --- what happens to them ---

    def start(self, place: Place) -> None:
        """Have a pod start at an address: it asks at once, and the API server hears of it besides."""
        name = f"p{place.number}-{len(place.pods)}"
        spec = {"nodeName": NODE, "containers": [{"name": "main", "image": "example.invalid/image:1"}]}
        meta = {"name": name, "annotations": {"iam.amazonaws.com/role": name}}
        self.plane.admin.create(self.pods, {"metadata": meta, "spec": spec})
        pod = Pod(name, time.monotonic(), roles={name: NEVER}, role=name)
        if place.pods:
            place.pods[-1].until = pod.since
        place.pods.append(pod)
        first = self._firsts.submit(self.both, place)
        status = {"phase": "Running", "podIP": place.address, "podIPs": [{"ip": place.address}]}
        told = self.told(self.plane.admin.patch(f"{self.pods}/{name}/status", {"status": status}))
        answers = first.result()
        for answer in answers:
            self.late += answer.asked < told <= answer.asked + PROMISED
            if answer.status != 200 and told <= answer.asked + PROMISED:
                self.missed.append(f"{pod} {answer}, told at {told}")
        if answers[-1].status != 200:  # the watch was cut: an SDK asks again
            self.both(place)
        pod.steady = time.monotonic()

    def change(self, place: Place) -> None:
        """Give a pod another role."""
        pod = place.pods[-1]
        before, pod.role, pod.steady = pod.role, f"{pod.role}x", NEVER
        pod.roles[pod.role] = NEVER
        note = {"metadata": {"annotations": {"iam.amazonaws.com/role": pod.role}}}
        self.told(self.plane.admin.patch(f"{self.pods}/{pod.name}", note))
        pod.roles[before] = pod.steady = time.monotonic()
        self.both(place)

    def end(self, place: Place, dice: random.Random) -> None:
        """End a pod, in one of the ways of Kubernetes; its address is free when this has been told of."""
        pod = place.pods[-1]
        pod.steady = NEVER
        path = f"{self.pods}/{pod.name}"
        if dice.random() < 0.5:  # deleted, with a time of grace, in which it still asks
            code, said = self.plane.admin.ask("DELETE", path)
            assert code == 200, said
            thing = json.loads(said)
            assert thing["metadata"]["deletionTimestamp"]
            self.both(place)
        else:  # it has done its work
            thing = self.plane.admin.patch(
                f"{path}/status", {"status": {"phase": dice.choice(["Succeeded", "Failed"])}}
            )
        self.told(thing)

    def replace(self, place: Place, dice: random.Random) -> None:
        """End a pod, and start the next one at its address as soon as that is told of; the old object goes sometime."""
        old = place.pods[-1].name
        self.end(place, dice)
        self.start(place)
        self.plane.admin.delete(f"{self.pods}/{old}")

    def told(self, thing: dict) -> float:
        """Wait until the agent has been told of an object as it is now, and has read it; return when it was told."""
        version, name = int(thing["metadata"]["resourceVersion"]), thing["metadata"]["name"]
        wait_until(lambda: self.watch.told_at(version) is not None, f"the watch to tell of {name}", 120)
        for _ in range(4):  # each goes through its loop once at least, and what was there before is read by then
            self._get("127.0.0.1", "/healthz")
        return self.watch.told_at(version) or NEVER

    def _get(self, address: str, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.host, int(self.port), 30, source_address=(address, 0))
        try:
            connection.request("GET", path)
            got = connection.getresponse()
            return got.status, got.read().decode()
        finally:
            connection.close()

    # --- the history ---

    def live(self, worker: int) -> None:
        """Let some of the places have a seeded history."""
        dice = random.Random(f"{SEED}-{worker}")
        for _ in range(TURNS):
            place = self.places[dice.randrange(worker, PODS, WORKERS)]
            if dice.random() < 0.75:
                self.replace(place, dice)
            else:
                self.change(place)

    def arrive(self, worker: int) -> None:
        """Have pods start at these places."""
        for place in self.places[worker::WORKERS]:
            self.start(place)

    def wander(self, worker: int) -> None:
        """Ask from anywhere until it is over."""
        dice = random.Random(f"{SEED}-asks-{worker}")
        while not self.over.wait(0.02):
            place = dice.choice(self.places)
            if place.pods:
                self.curious(place, dice)

    def disturb(self) -> None:
        """End the watches in each of the ways, seldom enough that the agent does not begin to wait long before each."""
        for turn in itertools.count():
            if self.over.wait(STEADY):
                break
            self.watch.cut(clean=turn % 3 == 1, gone=turn % 3 == 0)


@pytest.fixture
def node(control_plane: ControlPlane, tmp_path: Path) -> Iterator[tuple[Node, Sts]]:
    """A node without pods, and its agent."""
    namespace = control_plane.namespace("crowd")
    control_plane.node(NODE)
    control_plane.allow(namespace, "default", NEEDED)
    watch, sts = LateWatch(control_plane, control_plane.token(namespace, "default"), PATH, SEED), Sts()
    config = {
        "clusters": [{"name": "c", "cluster": {"server": watch.url}}],
        "contexts": [{"name": "c", "context": {"cluster": "c"}}],
        "current-context": "c",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    words = ["--imds-bind-hosts", "127.0.0.1", "--imds-port", "0", "--probe-port", "0", "--metrics-port", "0"]
    words += ["--dialect", "kube2iam", "--base-role-arn", BASE, "--node-name", NODE]
    words += ["--kubeconfig", str(tmp_path / "kubeconfig")]
    env = {"AWS_REGION": "us-west-2", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"}
    env |= {"AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{sts.server_port}", "PATH": os.environ["PATH"]}
    with agent(tmp_path, *words, env=env) as started:
        door = started.door()
        threading.Thread(target=deque, args=(started.process.stderr, 100), daemon=True).start()  # read what it logs
        yield Node(control_plane, namespace, watch, door), sts
    watch.stop()
    sts.shutdown()
    sts.server_close()


def at_once(*work: Callable[[], object]) -> None:
    """Do all of it beside each other; raise what failed."""
    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(one) for one in work]:
            done.result()


def test_no_wrong_role_and_nobody_missed(node: tuple[Node, Sts]) -> None:
    """A thousand pods come, five hundred things happen to them, and all that are left have their own roles."""
    found, sts = node

    def history() -> None:
        try:
            at_once(*(partial(found.arrive, worker) for worker in range(WORKERS)))
            at_once(*(partial(found.live, worker) for worker in range(WORKERS)))
        finally:
            found.over.set()

    at_once(history, found.disturb, *(partial(found.wander, worker) for worker in range(2)))
    assert not found.wrong, (len(found.wrong), found.wrong[:3])
    assert not found.missed, (len(found.missed), found.missed[:3])
    have = [found.both(place)[-1].role for place in found.places]
    assert have == [place.pods[-1].role for place in found.places]
    assert len(set(have)) == PODS
    roles = [role for place in found.places for pod in place.pods for role in pod.roles]
    assert sts.asked == Counter(roles), "each was asked for once, whoever waited for it"
    assert found.late > PODS / 2, "questions came before the event that tells of who asks"
    assert len(roles) - PODS > WORKERS * TURNS * 0.9, "addresses passed on, roles changed"
    assert found.watch.lists > 1, "the past was gone"
