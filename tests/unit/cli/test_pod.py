"""The pod of a run: the environment it is given, and what keeps it alive, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from rolecall.cli.doors import Doors
from rolecall.cli.pod import HEARTBEAT, injected, keep_alive, mount_token, pod_environment, rotate
from rolecall.cli.pod_spec import PodSpec
from rolecall.core.injection import Injection, Place
from rolecall.daemons.local_aws.apiserver import wire
from rolecall.daemons.local_aws.state_files import NO_PROXY
from rolecall.edges.run_dir import RunDir
from rolecall.edges.state_dir import Running
from rolecall.errors import Misconfigured, Refused, RolecallError, ServiceError, Upstream
from rolecall.mechanisms.pod_identity.inject import inject
from rolecall.testing.fake_clock import FakeClock

RUNNING = Running(
    1, "http://127.0.0.1:4500", "http://127.0.0.1:4501", "http://127.0.0.1:4502", "us-west-2", "123456789012", "0"
)
POD = wire.Pod("demo", "ns", "sa", "sa-abcde", "uid-1", "rolecall-dev", running=True, heartbeat_by=0.0)
LIFE = 86_400.0
OURS = NO_PROXY.split(",")


class FakePlane:
    """Answers what a pod asks of the plane, or fails as told; remembers when it was asked for what."""

    def __init__(self, clock: FakeClock, life: float = LIFE) -> None:
        self.clock, self.life = clock, life
        self.failure: RolecallError | None = None
        self.running = self.now_at = RUNNING
        self.state = SimpleNamespace(running=lambda: self.now_at)
        self.asked: list[tuple[float, str, Any]] = []

    async def ask(self, method: str, path: str, kind: type, message: Any = None) -> Any:
        """Answer a call of ``/_rolecall/v1``."""
        now = self.clock.now()
        self.asked.append((self.clock.monotonic(), f"{method} {path}", message))
        if self.failure is not None:
            raise self.failure
        return wire.Token(f"token-{len(self.asked)}", now, now + self.life) if kind is wire.Token else POD

    @property
    def times(self) -> list[float]:
        """When it was asked, in seconds since the start."""
        return [round(at, 6) for at, _, _ in self.asked]


@pytest.fixture
def files(tmp_path: Path) -> RunDir:
    """A run's directory."""
    return RunDir(tmp_path)


def injection(files: RunDir) -> Injection:
    """Return what Pod Identity injects, mounted there."""
    return inject("a-1", Place(), mount_path=str(files.path))


def rotating(files: RunDir, play: Callable[[FakePlane, FakeClock], Any], life: float = LIFE) -> FakePlane:
    """Play a scene while the pod's token is being rotated; return the plane that was asked."""

    async def scene() -> FakePlane:
        clock = FakeClock()
        plane = FakePlane(clock, life)
        token = await mount_token(plane, POD, injection(files), files)
        task = asyncio.create_task(rotate(plane, POD, injection(files), files, token, clock))
        await play(plane, clock)
        assert not task.done()
        task.cancel()
        return plane

    return asyncio.run(scene())


@pytest.mark.parametrize("life", [86_400.0, 600.0, 5.0])
def test_the_token_is_replaced_at_80_percent_of_its_life(files: RunDir, life: float) -> None:
    """As the kubelet does, again and again; it is the pod's own, for the same audience, without a newline."""
    plane = rotating(files, lambda _, clock: clock.advance(life * 0.8 * 3 + 0.01), life)
    assert plane.times == pytest.approx([0, 0.8 * life, 1.6 * life, 2.4 * life])
    assert {path for _, path, _ in plane.asked} == {"POST /clusters/demo/tokens"}
    assert {message for _, _, message in plane.asked} == {
        wire.NewToken("ns", "sa", "pods.eks.amazonaws.com", 86_400, "uid-1")
    }
    assert (files.path / "eks-pod-identity-token").read_bytes() == b"token-4"


def test_a_plane_that_is_away_is_asked_again_ever_more_slowly(
    files: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    """The old token stays where it was; one warning; the pauses double up to 10 s; then all is as before."""

    async def play(plane: FakePlane, clock: FakeClock) -> None:
        plane.failure = Upstream("refused")
        await clock.advance(0.8 * LIFE + 120)
        assert (files.path / "eks-pod-identity-token").read_bytes() == b"token-1"
        plane.failure = None
        await clock.advance(10)
        count = len(plane.asked)
        await clock.advance(0.8 * LIFE - 11)
        assert len(plane.asked) == count
        await clock.advance(11)
        assert len(plane.asked) == count + 1

    plane = rotating(files, play)
    failed = [at for at in plane.times if 0.8 * LIFE <= at <= 0.8 * LIFE + 120]
    pauses = [after - before for before, after in itertools.pairwise(failed)]
    assert len(pauses) > 12
    for number, pause in enumerate(pauses):
        ceiling = min(10.0, 0.5 * 2**number)
        assert ceiling / 2 - 1e-5 <= pause <= ceiling + 1e-5
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1
    assert "could not be rotated (refused)" in warnings[0]


def test_a_disk_that_is_full_does_not_end_the_rotation(files: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation that died in silence would take the program's credentials a day later."""

    async def play(plane: FakePlane, clock: FakeClock) -> None:
        def full(*_: object) -> Path:
            raise Misconfigured("token cannot be written: No space left on device")

        with monkeypatch.context() as broken:
            broken.setattr(RunDir, "write", full)
            await clock.advance(0.8 * LIFE + 1)
        await clock.advance(10)
        assert (files.path / "eks-pod-identity-token").read_bytes() == f"token-{len(plane.asked)}".encode()

    assert len(rotating(files, play).asked) > 2


def test_a_laptop_that_slept_rotates_when_it_wakes(files: RunDir) -> None:
    """The wall clock went on while the process did not: its token may be over already."""

    async def play(plane: FakePlane, clock: FakeClock) -> None:
        await clock.advance(60)
        clock.step(LIFE)
        await clock.advance(HEARTBEAT)
        assert len(plane.asked) == 2

    rotating(files, play)


def test_heartbeats_end_with_the_pod(capsys: pytest.CaptureFixture[str]) -> None:
    """One every 20 s, whatever else fails; "no such pod" is final, and is said once."""

    async def scene() -> FakePlane:
        clock = FakeClock()
        plane = FakePlane(clock)
        task = asyncio.create_task(keep_alive(plane, POD, clock))
        await clock.advance(41)
        for failure in (Upstream("away"), ServiceError("InternalFailure", "oops", status=500)):
            plane.failure = failure
            await clock.advance(20)
        assert not task.done()
        plane.failure = ServiceError("ResourceNotFoundException", "pod uid-1 has ended", status=404)
        await clock.advance(20)
        assert task.done()
        await task
        return plane

    plane = asyncio.run(scene())
    assert plane.times == [20, 40, 60, 80, 100]
    assert {path for _, path, _ in plane.asked} == {"POST /clusters/demo/pods/uid-1/heartbeat"}
    said = capsys.readouterr().err
    assert said.count("it gets no new credentials") == 1
    assert said.count("cannot be asked (away)") == 1, "once for each time that the plane is away"


def test_a_metadata_service_that_is_gone_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A plane that was started anew knows the pod, and has no listener for it: said once."""

    async def scene() -> None:
        clock = FakeClock()
        pod = structs.replace(POD, metadata_url="http://127.80.0.1:9")
        task = asyncio.create_task(keep_alive(FakePlane(clock), pod, clock))
        await clock.advance(61)
        task.cancel()

    asyncio.run(scene())
    assert capsys.readouterr().err.count("metadata service is gone") == 1


def test_a_plane_that_came_back_elsewhere_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Its program was given addresses that nobody serves any more: it would fail without a word from us."""

    async def scene() -> None:
        clock = FakeClock()
        plane = FakePlane(clock)
        task = asyncio.create_task(keep_alive(plane, POD, clock))
        plane.failure = Upstream("refused")
        plane.now_at = structs.replace(plane.running, url="http://127.0.0.1:9")
        await clock.advance(61)
        task.cancel()

    asyncio.run(scene())
    said = capsys.readouterr().err
    assert said.count("listens at http://127.0.0.1:9 now") == 1


@pytest.mark.parametrize(
    ("own", "direct"),
    [
        ({}, OURS),
        ({"NO_PROXY": "a.b"}, ["a.b", *OURS]),
        ({"no_proxy": "a.b"}, ["a.b", *OURS]),
        ({"NO_PROXY": "a.b", "no_proxy": " c.d , ,a.b"}, ["a.b", "c.d", *OURS]),
        ({"NO_PROXY": "localhost,a.b"}, ["localhost", "a.b", *(host for host in OURS if host != "localhost")]),
        ({"no_proxy": "*"}, ["*"]),
        ({"NO_PROXY": "a.b,*"}, ["*"]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_proxies_are_never_between_a_program_and_the_plane(
    files: RunDir, own: Mapping[str, str], direct: list[str]
) -> None:
    """The caller's own exceptions stay, in both spellings, since programs differ in which they read.

    A star means everything only where it stands alone (urllib, curl).
    """
    made = pod_environment(own, Doors(RUNNING), files, None, PodSpec())
    assert made["NO_PROXY"].split(",") == direct
    assert made["no_proxy"] == made["NO_PROXY"]


def test_nothing_of_the_callers_aws_comes_through(files: RunDir) -> None:
    """Neither by a variable that we know nor by one that we do not; without an injection there is just a place."""
    own = {"AWS_PROFILE": "x", "AWS_REGION": "eu-west-1", "AWS_": "x", "AWS_NEW_THING": "x", "AWSOME": "1", "PATH": "/"}
    made = pod_environment(own, Doors(RUNNING), files, None, PodSpec())
    aws = {name: value for name, value in made.items() if name.startswith("AWS_")}
    assert {name for name, value in aws.items() if value == "x"} == set()
    assert (aws["AWS_REGION"], aws["AWS_DEFAULT_REGION"], made["AWSOME"], made["PATH"]) == ("us-west-2",) * 2 + (
        "1",
        "/",
    )
    assert not {name for name in aws if "ROLE" in name or "CONTAINER" in name or "PROFILE" in name}
    assert Path(aws["AWS_CONFIG_FILE"]).read_bytes() == b""
    assert aws["AWS_EC2_METADATA_DISABLED"] == "true"


def test_a_metadata_service_is_found_by_its_variable(files: RunDir) -> None:
    """What the caller said of another is not the pod's."""
    own = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://elsewhere"}
    made = pod_environment(own, Doors(RUNNING, metadata=RUNNING.imds_url), files, None, PodSpec())
    assert made["AWS_EC2_METADATA_SERVICE_ENDPOINT"] == "http://127.0.0.1:4502"
    assert (made["AWS_EC2_METADATA_DISABLED"], made["AWS_REGION"]) == ("false", "us-west-2")


def test_at_the_real_address_nothing_has_to_be_told(files: RunDir) -> None:
    """The metadata service is where every SDK looks by itself, and no proxy is between."""
    doors = Doors(RUNNING, real=True, metadata=RUNNING.imds_url)
    made = pod_environment({}, doors, files, None, PodSpec())
    assert "AWS_EC2_METADATA_SERVICE_ENDPOINT" not in made
    assert made["AWS_EC2_METADATA_DISABLED"] == "false"
    assert "169.254.169.254" in made["NO_PROXY"].split(",")


def test_a_service_account_without_anything_is_refused(files: RunDir) -> None:
    """With the sentence of the webhook's own decision."""
    account = wire.Account("demo", "ns", "sa", "", {})
    with pytest.raises(Refused, match="has no role") as refused:
        injected(account, RUNNING, files.path, None)
    assert refused.value.refusal.reason == "neither"


def test_the_door_is_the_running_agents(files: RunDir) -> None:
    """Whatever port the agent has; the token file is the run's."""
    account = wire.Account("demo", "ns", "sa", "", {}, wire.Association("a-1", "arn", "role"))
    made = dict(injected(account, RUNNING, files.path, None).env)
    assert made["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == "http://127.0.0.1:4501/v1/credentials"
    assert made["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] == f"{files.path}/eks-pod-identity-token"
