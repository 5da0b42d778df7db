"""``rolecall run``: the program's own exit code, signals and terminal; nothing left behind."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from integration.dev_plane import CLUSTER, POD_ROLE, DevPlane, role_arn

POD = ("demo-ns", "demo-sa")


def runs(plane: DevPlane) -> list[Path]:
    """Return the directories of runs that are there."""
    return [path for path in (plane.state / "run").iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "kill -TERM $$"), 128 + signal.SIGTERM),
        (("sh", "-c", "kill -KILL $$"), 128 + signal.SIGKILL),
        (("no-such-program",), 127),
        (("./no/such/program",), 127),
        (("/etc/hostname",), 126),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_exit_codes(stage: DevPlane, command: tuple[str, ...], code: int) -> None:
    """The program's own, 128+n for a signal, 126 and 127 as shells have them."""
    before = runs(stage)
    done = stage.run_as(*POD, *command)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert runs(stage) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-n", "demo-ns", "-s", "nobody", "--", "true"), "rolecall association create"),
        (("-n", "demo-ns", "-s", "demo-sa", "--via", "irsa", "--", "true"), "rolecall serviceaccount annotate"),
        (("-n", "carts", "-s", "carts", "--via", "pod-identity", "--", "true"), "rolecall association create"),
        (("-n", "Demo", "-s", "demo-sa", "--", "true"), "Kubernetes namespace"),
        (("-n", "demo-ns", "-s", "demo-sa", "--cluster", "other", "--", "true"), CLUSTER),
        (("-n", "demo-ns", "-s", "demo-sa"), "Missing argument"),
        (("-n", "demo-ns", "--", "true"), "--service-account"),
        (("-n", "demo-ns", "-s", "demo-sa", "--state-dir", "/nonexistent", "--", "true"), "rolecall dev"),
        (("-n", "demo-ns", "-s", "demo-sa", "--without-role", "--via", "irsa", "--", "true"), "exclude"),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else value,
)
def test_own_failures_are_125_and_say_what_to_do(stage: DevPlane, words: tuple[str, ...], told: str) -> None:
    """None of them can be taken for the program's own exit code; each names the next step."""
    done = stage.shell("rolecall", "run", *words)
    assert (done.returncode, told in done.stderr) == (125, True), done.stderr
    assert "Traceback" not in done.stderr


def test_the_environment_is_a_pods(stage: DevPlane) -> None:
    """The caller's variables without any AWS_*, and what the webhooks add; the files say nothing of their own."""
    show = "import json, os; print(json.dumps(dict(os.environ)))"
    outer = stage.environment | {
        "AWS_ROLE_ARN": "x",
        "AWS_ENDPOINT_URL_IAM": "http://x",
        "MINE": "1",
        "NO_PROXY": "a.b",
    }
    found = json.loads(stage.run_as(*POD, sys.executable, "-c", show, env=outer).stdout)
    aws = {name: value for name, value in found.items() if name.startswith("AWS_")}
    directory = Path(aws["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).parent
    empty = aws.pop("AWS_CONFIG_FILE")
    assert aws.pop("AWS_SHARED_CREDENTIALS_FILE") == empty
    assert directory.parent == stage.state / "run"
    assert aws == {
        "AWS_STS_REGIONAL_ENDPOINTS": "regional",
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_REGION": "us-west-2",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{stage.agent_url}/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(directory / "eks-pod-identity-token"),
        "AWS_ENDPOINT_URL": stage.url,
        "AWS_ENDPOINT_URL_STS": stage.url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    assert found["MINE"] == "1"
    assert found["NO_PROXY"].split(",")[0] == "a.b"
    assert "127.0.0.1" in found["NO_PROXY"].split(",")


def test_files_are_private_and_have_no_newline(stage: DevPlane) -> None:
    """0700 and 0600; a token with a newline at its end breaks several SDKs."""
    look = 'f=$AWS_WEB_IDENTITY_TOKEN_FILE; stat -c %a "$(dirname "$f")" "$f"; cat "$f" "$AWS_CONFIG_FILE"'
    done = stage.run_as("carts", "carts", "sh", "-c", look)
    directory, file, token = done.stdout.split("\n")
    assert (directory, file, token.count(".")) == ("700", "600", 2)


def test_standard_input_and_output_are_the_programs(stage: DevPlane) -> None:
    """`rolecall run` can stand in a pipe."""
    done = stage.run_as(*POD, "tr", "a-z", "A-Z", input="through\n")
    assert (done.stdout, done.stderr, done.returncode) == ("THROUGH\n", "", 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1], ids=lambda n: n.name)
def test_signals_are_passed_on(stage: DevPlane, number: signal.Signals) -> None:
    """The program decides what a signal does, and its answer is the exit code."""
    program = (
        "import signal, sys\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(42))\n"
        "print('ready', flush=True)\nwhile True: signal.pause()\n"
    )
    running = subprocess.Popen(
        ["rolecall", "run", "-n", POD[0], "-s", POD[1], "--", sys.executable, "-c", program],
        env=stage.environment, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert running.stdout is not None
    with running.stdout:
        assert running.stdout.readline() == "ready\n"
        running.send_signal(number)
        assert running.wait(20) == 42


def test_ctrl_c_at_a_terminal_reaches_the_program_once(stage: DevPlane) -> None:
    """The terminal sends it to both; it is not sent a second time, and the run is cleaned up."""
    program = (
        "import signal, time\ncount = []\nsignal.signal(signal.SIGINT, lambda *_: count.append(1))\n"
        "print('ready', flush=True)\nwhile not count: time.sleep(0.01)\n"
        "time.sleep(0.5)\nprint('interrupts', len(count), flush=True)\n"
    )
    before = runs(stage)
    pid, terminal = pty.fork()
    if pid == 0:
        words = ["rolecall", "run", "-n", POD[0], "-s", POD[1], "--", sys.executable, "-c", program]
        os.execvpe(words[0], words, stage.environment)
    shown = b""
    while b"ready" not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    while not re.search(rb"interrupts \d", shown):
        shown += os.read(terminal, 1000)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert b"interrupts 1" in shown
    assert os.waitstatus_to_exitcode(status) == 0
    assert runs(stage) == before


def test_a_killed_run_is_swept_by_the_next(stage: DevPlane) -> None:
    """A SIGKILL leaves token files behind; the next run removes them, and not those of a run that lives."""
    command = ["rolecall", "run", "-n", POD[0], "-s", POD[1], "--", "sh", "-c", "echo ready; exec sleep 60"]
    started = []
    for _ in range(2):
        running = subprocess.Popen(command, env=stage.environment, stdout=subprocess.PIPE, start_new_session=True)
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        started.append(running)
    killed = started[0]
    before = set(runs(stage))
    killed.kill()
    killed.wait()
    try:
        stage.run_as(*POD, "true")
        assert len(before - set(runs(stage))) == 1
        token = next(path for path in runs(stage) if path in before) / "eks-pod-identity-token"
        assert token.exists()
    finally:
        for running in started:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            assert running.stdout is not None
            running.stdout.close()


def test_the_token_dies_with_its_pod(stage: DevPlane) -> None:
    """After the program has ended, EKS Auth refuses its token, which has a day to live by its own word."""
    token = stage.run_as(*POD, "sh", "-c", 'cat "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"').stdout
    eks_auth = stage.client("eks-auth", **stage.keys("node-credentials"))
    with pytest.raises(eks_auth.exceptions.InvalidTokenException, match="does not run any more"):
        eks_auth.assume_role_for_pod_identity(clusterName=CLUSTER, token=token)


def test_both_there_means_pod_identity(stage: DevPlane) -> None:
    """As AWS's webhook decides; --via chooses the other one."""
    arn = role_arn("of-both")
    trust = stage.client("iam").get_role(RoleName=POD_ROLE)["Role"]["AssumeRolePolicyDocument"]
    stage.client("iam").create_role(RoleName="of-both", AssumeRolePolicyDocument=json.dumps(trust))
    for noun in (("association", "create"), ("serviceaccount", "annotate")):
        done = stage.shell("rolecall", *noun, "-n", "both", "-s", "both", "--role-arn", arn)
        assert done.returncode == 0, done.stderr
    show = ("sh", "-c", "echo ${AWS_CONTAINER_CREDENTIALS_FULL_URI:+pod-identity} ${AWS_ROLE_ARN:+irsa}")
    assert stage.run_as("both", "both", *show).stdout.split() == ["pod-identity"]
    assert stage.run_as("both", "both", "--via", "irsa", "--", *show).stdout.split() == ["irsa"]


def test_without_a_role_there_is_nothing(stage: DevPlane) -> None:
    """The pod of a service account that nobody gave a role, on a node whose metadata service it does not reach."""
    done = stage.run_as(*POD, "--without-role", "--", "aws", "sts", "get-caller-identity")
    assert done.returncode == 255
    assert "Unable to locate credentials" in done.stderr or "NoCredentials" in done.stderr
