"""``rolecall dev`` as a process: one screen, one owner, a clean stop, a state that is continued."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.dev_plane import DevPlane, plain_environment, wait_until


def dev(home: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Start a plane that is expected not to come up."""
    return subprocess.run(
        ["rolecall", "dev", *flags],
        env=plain_environment(home), capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip


def test_the_screen_says_what_runs_where(stage: DevPlane) -> None:
    """Where AWS is, where the agent is, where the state is, and the one line to paste."""
    wait_until(lambda: "Ctrl-C" in stage.output(), "the screen")
    for told in (
        stage.url,
        f"{stage.agent_url}/v1/credentials",
        f"{stage.imds_url}/latest/",
        f"source {stage.state / 'env'}",
        "rolecall run",
    ):
        assert told in stage.output()
    assert len(stage.output().partition("Ctrl-C")[0].splitlines()) < 24, "one screen"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_it_stops_cleanly_and_goes_on_where_it_was(new_plane: Callable[..., DevPlane], number: int) -> None:
    """The agent ends with it, nothing announces it any more, and its keys and roles are there at the next start."""
    plane = new_plane().start()
    trust = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}}'
    made = plane.client("iam").create_role(RoleName="kept", AssumeRolePolicyDocument=trust)["Role"]
    keys, agent = plane.keys(), plane.agent_url
    assert plane.stop(number) == 0
    assert not (plane.state / "plane.json").exists()
    host, port = agent.removeprefix("http://").split(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0, "the agent has ended too"
    plane.start()
    assert plane.keys() == keys
    assert plane.client("iam").get_role(RoleName="kept")["Role"]["RoleId"] == made["RoleId"]


def test_a_state_directory_has_one_owner(stage: DevPlane) -> None:
    """The second start names the first one's pid, and changes nothing."""
    done = dev(stage.home, "--state-dir", str(stage.state), "--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0")
    assert done.returncode == 2
    assert f"pid {stage.process.pid}" in done.stderr
    assert "Traceback" not in done.stderr
    assert stage.client("sts").get_caller_identity()["Arn"].endswith("user/admin")


def test_a_busy_port_is_named(stage: DevPlane, tmp_path: Path) -> None:
    """For the plane's port and for the agent's: which address, and which flag changes it."""
    taken, agent = stage.url.removeprefix("http://"), stage.agent_url.removeprefix("http://")
    state = ("--state-dir", str(tmp_path / "state"))
    done = dev(stage.home, *state, "--listen", taken, "--agent-listen", "127.0.0.1:0")
    assert (done.returncode, taken in done.stderr, "--listen" in done.stderr) == (2, True, True), done.stderr
    done = dev(stage.home, *state, "--listen", "127.0.0.1:0", "--imds-listen", "127.0.0.1:0", "--agent-listen", agent)
    assert (done.returncode, agent in done.stderr, "--agent-listen" in done.stderr) == (2, True, True), done.stderr
    imds = stage.imds_url.removeprefix("http://")
    done = dev(stage.home, *state, "--listen", "127.0.0.1:0", "--imds-listen", imds)
    assert (done.returncode, imds in done.stderr, "--imds-listen" in done.stderr) == (2, True, True), done.stderr


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--listen", "0.0.0.0:0"), "--insecure-expose"),
        (("--agent-listen", "192.0.2.1:80"), "loopback"),
        (("--imds-listen", "192.0.2.1:80"), "whoever asks"),
        (("--listen", "here"), "127.0.0.1:4500"),
        (("--listen", "127.0.0.1:99999"), "is not an address"),
        (("--account-id", "12"), "12 digits"),
        (("--region", "Mars"), "us-west-2"),
        (("--trust-policy-quota", "9000"), "8192"),
        (("--max-session-seconds", "0"), "--max-session-seconds"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_what_cannot_work_is_refused_before_anything_is_made(tmp_path: Path, flags: tuple[str, ...], told: str) -> None:
    """Exit code 2, a sentence that says what would work, no trace, no state directory."""
    done = dev(tmp_path, "--state-dir", str(tmp_path / "state"), *flags)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "state").exists()


def test_another_account_on_the_same_state_is_refused(new_plane: Callable[..., DevPlane]) -> None:
    """Half of the ARNs would be of the one account and half of the other."""
    plane = new_plane().start()
    plane.stop()
    free = ("--listen", "127.0.0.1:0", "--imds-listen", "127.0.0.1:0", "--state-dir", str(plane.state))
    done = dev(plane.home, "--account-id", "210987654321", *free)
    assert (done.returncode, "123456789012" in done.stderr) == (2, True), done.stderr


def test_files_with_keys_are_private(stage: DevPlane) -> None:
    """Directory 0700, files with secrets 0600."""
    assert stat.S_IMODE(stage.state.stat().st_mode) == 0o700
    for name in ("credentials", "node-credentials", "env", "plane.sqlite", "plane.log", "agent.log"):
        assert stat.S_IMODE((stage.state / name).stat().st_mode) & 0o077 == 0, name


def test_the_agent_that_dies_takes_the_plane_with_it(new_plane: Callable[..., DevPlane]) -> None:
    """Half a system would fail in silence: it ends, says so, and exits with an error."""
    plane = new_plane().start()
    children = Path(f"/proc/{plane.process.pid}/task/{plane.process.pid}/children").read_text().split()
    assert len(children) == 1
    os.kill(int(children[0]), signal.SIGKILL)
    assert plane.process.wait(20) == 1
    assert "the agent was ended by signal 9" in plane.output()


def test_the_agent_does_not_outlive_a_killed_plane(new_plane: Callable[..., DevPlane]) -> None:
    """A SIGKILL of the plane cannot be caught: the agent sees its end by itself."""
    plane = new_plane().start()
    child = int(Path(f"/proc/{plane.process.pid}/task/{plane.process.pid}/children").read_text())
    plane.stop(signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{child}").exists(), "the agent's end")


def test_logs_tell_the_reason_and_no_secret(stage: DevPlane) -> None:
    """A refusal is shown with its operation, code and reason; no secret key, session token or token is in any log."""
    done = stage.run_as(
        "demo-ns", "demo-sa", "sh", "-c", 'cat "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"; aws iam list-users'
    )
    assert done.returncode != 0
    token = done.stdout.strip()
    assert token.count(".") == 2
    secrets = [
        token.rpartition(".")[2],
        *(stage.keys(name)["aws_secret_access_key"] for name in ("credentials", "node-credentials")),
    ]
    everything = stage.output() + "".join((stage.state / name).read_text() for name in ("plane.log", "agent.log"))
    assert "iam:ListUsers" in stage.output()
    for secret in secrets:
        assert secret not in everything
