"""The nouns of the command line against a running plane, and beside what an unmodified AWS CLI says of the same."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest

from integration.dev_plane import DevPlane, plain_environment, role_arn
from rolecall.cli.main import main
from rolecall.edges.state_dir import Running, StateDir, write_private

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
        },
    }
)
ONE, TWO, TARGET = role_arn("one"), role_arn("two"), "arn:aws:iam::210987654321:role/far"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevPlane]:
    """A plane with two clusters and two roles, in a directory whose name a shell must quote."""
    directory = tmp_path_factory.mktemp("nouns") / "it's mine"
    (directory / "home").mkdir(parents=True)
    made = DevPlane(directory / "the state", directory / "home").start()
    for name in ("demo", "other"):
        made.client("eks").create_cluster(name=name, roleArn=role_arn("any"), resourcesVpcConfig={})
    for name in ("one", "two"):
        made.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def rolecall(plane: DevPlane) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command in a shell that has only found the state directory; its input is empty."""
    environment = plane.environment

    def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        done = plane.shell("rolecall", *words, **({"env": environment, "input": ""} | options))
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def said(rolecall: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., Any]:
    """Run a command that must succeed with ``-o json``; return what it says."""

    def run(*words: str) -> Any:
        done = rolecall(*words, "-o", "json")
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    return run


def test_an_associations_life_is_what_the_aws_cli_sees(plane: DevPlane, said: Callable[..., Any]) -> None:
    """Created, described, updated, deleted: each answer is, field by field, what `aws eks` says of it."""
    in_demo = ("--cluster", "demo")
    made = said(
        *("association", "create", *in_demo, "-n", "shop", "-s", "carts", "--role-arn", ONE),
        *("--target-role-arn", TARGET, "--tag", "team=blue", "--tag", "note=a=b c", "--disable-session-tags"),
        *("--client-request-token", "t" * 33),
    )
    identifier = made["association"]["associationId"]
    aws = ("eks", "describe-pod-identity-association", "--cluster-name", "demo", "--association-id", identifier)
    assert made == plane.aws(*aws)
    assert made["association"]["tags"] == {"team": "blue", "note": "a=b c"}
    for named in (
        (identifier, *in_demo),
        (made["association"]["associationArn"],),
        ("-n", "shop", "-s", "carts", *in_demo),
    ):
        assert said("association", "describe", *named) == made
    again = said(
        *("association", "create", *in_demo, "-n", "shop", "-s", "carts", "--role-arn", ONE),
        *("--client-request-token", "t" * 33),
    )
    assert again == made, "the same request token makes a second try harmless"

    changed = said(
        *("association", "update", made["association"]["associationArn"], "--role-arn", TWO),
        *("--target-role-arn", "", "--enable-session-tags"),
    )
    assert changed == plane.aws(*aws)
    one = changed["association"]
    assert (one["roleArn"], one["disableSessionTags"], one.get("targetRoleArn"), one.get("externalId")) == (
        TWO,
        False,
        None,
        None,
    )
    gone = said("association", "delete", "-n", "shop", "-s", "carts", *in_demo)["association"]
    assert gone | {"modifiedAt": 0} == one | {"modifiedAt": 0}
    assert plane.shell("aws", *aws).returncode != 0


def test_a_person_reads_columns(plane: DevPlane, rolecall: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """The same commands without ``-o json``; each names what it is about."""
    about = ("-n", "people", "-s", "reader", "--cluster", "demo")
    made = rolecall("association", "create", *about, "--role-arn", ONE, "--tag", "a=b").stdout
    fields = dict(re.split(r":  +", line, maxsplit=1) for line in made.splitlines())
    assert (fields["Service account"], fields["Role"], fields["Tags"]) == ("people/reader", ONE, "a=b")
    assert (fields["Cluster"], fields["Session tags"]) == ("demo", "on")
    head, row = rolecall("association", "list", "-n", "people", "--cluster", "demo").stdout.splitlines()
    assert row.split() == ["people", "reader", fields["Association"], "demo"]
    assert head.index("ASSOCIATION") == row.index(fields["Association"])
    done = rolecall("association", "delete", *about)
    assert done.stdout == f"association {fields['Association']} of people/reader deleted\n"
    done = rolecall("association", "list", "-n", "people", "--cluster", "demo")
    assert (done.stdout, done.stderr, done.returncode) == ("", "no associations\n", 0)


def test_a_list_has_all_pages(plane: DevPlane, said: Callable[..., Any]) -> None:
    """More than one page holds (100), each once, and what the AWS CLI lists, which turns pages by itself."""
    eks = plane.client("eks")

    def create(number: int) -> None:
        eks.create_pod_identity_association(
            clusterName="other", namespace="many" if number else "few", serviceAccount=f"sa-{number}", roleArn=ONE
        )

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(create, range(103)))
    found = said("association", "list", "--cluster", "other")
    listed = plane.aws("eks", "list-pod-identity-associations", "--cluster-name", "other")
    assert len({one["serviceAccount"] for one in found["associations"]}) == 103
    assert found == {"associations": listed["associations"]}
    few = said("association", "list", "--cluster", "other", "-n", "few")["associations"]
    assert [one["serviceAccount"] for one in few] == ["sa-0"]
    one = said("association", "list", "--cluster", "other", "-n", "many", "-s", "sa-7")["associations"]
    assert [(item["namespace"], item["serviceAccount"]) for item in one] == [("many", "sa-7")]


DEMO = ("--cluster", "demo")
WHO = ("-n", "bad", "-s", "bad", *DEMO)
ELSEWHERE = "arn:aws:eks:us-west-2:123456789012:podidentityassociation/nope/a-1"


@pytest.mark.parametrize(
    ("words", "cause", "step"),
    [
        (("association", "list"), "there are 2 clusters: demo, other", "--cluster NAME"),
        (("association", "list", "--cluster", "nope"), "there is no cluster 'nope'", "demo, other"),
        (("association", "list", "--cluster", "a/b?c"), "there is no cluster 'a/b?c'", "demo, other"),
        (("association", "describe", *DEMO), "which association?", "-n NAMESPACE and -s SERVICE_ACCOUNT"),
        (("association", "describe", *DEMO, "-n", "x"), "which association?", "-s SERVICE_ACCOUNT"),
        (("association", "describe", *WHO), "bad/bad of cluster demo has no association", "association list"),
        (("association", "describe", "a-0000000000000000x", *DEMO), "ID: a-0000000000000000x", "association list"),
        (("association", "describe", "a b?c=1/é\n", *DEMO), "found for ID: a b?c=1/é", "association list"),
        (("association", "delete", "a-1", *WHO), "names an association twice", "give its id, or -n"),
        (("association", "delete", ELSEWHERE), "there is no cluster 'nope'", "demo, other"),
        (("association", "update", *DEMO, "-n", "ok", "-s", "ok"), "Nothing to update", "give roleArn"),
        (("association", "create", *DEMO, "-n", "ok", "-s", "ok", "--role-arn", TWO), "already", "association update"),
        (("association", "create", *WHO, "--role-arn", "carts"), "'carts' is not an ARN", "arn:aws:iam::"),
        (("association", "create", *WHO, "--role-arn", role_arn("none")), "does not exist", "role/none"),
        (("association", "create", *WHO, "--role-arn", TARGET), "cluster's account", "targetRoleArn"),
        (("association", "create", *WHO, "--role-arn", ONE, "--tag", "team"), "--tag 'team' has no value", "KEY=VALUE"),
        (("association", "create", *WHO, "--role-arn", ONE, "--tag", "aws:x=1"), "aws:", "reserved"),
        (("association", "create", *WHO, "--role-arn", ONE, "--client-request-token", "x"), "33", "126"),
        (("association", "create", *DEMO, "-n", "Shop", "-s", "x", "--role-arn", ONE), "namespace", "[a-z0-9]"),
        (("association", "create", *DEMO, "-n", "x", "-s", "a/b", "--role-arn", ONE), "serviceAccount", "a-z"),
        (("association", "create", *WHO), "Missing option '--role-arn'", "--help"),
        (("serviceaccount", "annotate", *WHO), "nothing to annotate", "--role-arn ARN"),
        (("serviceaccount", "annotate", *WHO, "--role-arn", "carts"), "'carts' is not an ARN", "arn:aws:iam::"),
        (("serviceaccount", "annotate", *WHO, "--role-arn", "arn:aws:iam::1:role/x"), "'1'", "12 digits"),
        (("serviceaccount", "annotate", *WHO, "--audience", "  "), "audience is empty", "Kubernetes API"),
        (("serviceaccount", "annotate", *WHO, "--token-expiration", "599"), "'599' is not a lifetime", "600 to 86400"),
        (("serviceaccount", "annotate", *WHO, "--token-expiration", "1h"), "'1h' is not a lifetime", "600 to 86400"),
        (("serviceaccount", "annotate", *DEMO, "-n", "", "-s", "x", "--role-arn", ONE), "'' is not", "namespace"),
        (("serviceaccount", "annotate", *DEMO, "-n", "..", "-s", "x", "--role-arn", ONE), "'..' is not", "namespace"),
        (("token", "create", *WHO, "--duration", "599"), "600 seconds", "InvalidParameterException"),
        (("token", "create", *WHO, "--duration", "9" * 40), "600 seconds", "InvalidParameterException"),
        (("token", "create", *WHO, "--duration", "1h"), "Invalid value for '--duration'", "--help"),
        (("token", "create", *WHO, "--audience", ""), "audience is empty", "Kubernetes API"),
        (("token", "create", *WHO, "--pod", "bad-abcde"), "no pod bad/bad-abcde runs", "running there: none"),
        (("token", "create", *DEMO, "-n", "A", "-s", "x"), "'A' is not a Kubernetes namespace", "a-z"),
        (("session", "describe", "ASIANONE"), "no session has access key id ASIANONE", "ResourceNotFound"),
        (("session", "describe", "a/../b?c"), "a/../b?c", "ResourceNotFound"),
        (("session", "describe", ""), "is empty", "ASIA"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_errors(
    plane: DevPlane,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    cause: str,
    step: str,
) -> None:
    """Exit code 2, nothing on standard output, the cause and the next step; never a trace; nothing is changed."""
    eks = plane.client("eks")
    if not eks.list_pod_identity_associations(clusterName="demo", namespace="ok")["associations"]:
        eks.create_pod_identity_association(clusterName="demo", namespace="ok", serviceAccount="ok", roleArn=ONE)
    monkeypatch.setattr(sys, "argv", ["rolecall", *words])
    monkeypatch.setenv("ROLECALL_STATE_DIR", str(plane.state))
    with pytest.raises(SystemExit) as end:  # anything else that comes out would be shown as a trace
        main()
    shown = capsys.readouterr()
    assert (end.value.code, shown.out) == (2, ""), shown.err
    assert cause in shown.err
    assert step in shown.err
    assert eks.list_pod_identity_associations(clusterName="demo", namespace="bad")["associations"] == []


def test_no_cluster_yet(new_plane: Callable[..., DevPlane]) -> None:
    """The command that the sentence names makes one, and then it need not be named."""
    plane = new_plane().start()
    done = plane.shell("rolecall", "association", "list")
    assert (done.returncode, "there is no cluster yet" in done.stderr) == (2, True)
    (command,) = re.findall(r"aws eks create-cluster .*", done.stderr)
    assert plane.shell("bash", "-c", command).returncode == 0
    assert plane.shell("rolecall", "association", "list").returncode == 0


def test_annotations_come_and_go(plane: DevPlane, said: Callable[..., Any]) -> None:
    """Each by its own flag; an empty text removes it and leaves the others; a run is given what is left."""
    who = ("-n", "annotated", "-s", "web", "--cluster", "demo")
    eks = "eks.amazonaws.com"

    def annotated(*flags: str) -> dict[str, str]:
        return said("serviceaccount", "annotate", *who, *flags)["annotations"]

    found = annotated("--role-arn", ONE, "--audience", "other.example", "--token-expiration", "7200")
    assert found == {f"{eks}/role-arn": ONE, f"{eks}/audience": "other.example", f"{eks}/token-expiration": "7200"}
    token = plane.run_as(
        "annotated", "web", "--cluster", "demo", "--", "sh", "-c", 'cat "$AWS_WEB_IDENTITY_TOKEN_FILE"'
    )
    claims = jwt.decode(token.stdout, options={"verify_signature": False})
    assert (claims["aud"], claims["exp"] - claims["iat"]) == (["other.example"], 7200)
    assert annotated("--audience", "", "--token-expiration", "") == {f"{eks}/role-arn": ONE}
    assert annotated("--role-arn", "") == {}
    assert plane.run_as("annotated", "web", "--cluster", "demo", "--", "true").returncode == 125


def test_service_accounts_are_listed(plane: DevPlane, rolecall: Callable[..., Any], said: Callable[..., Any]) -> None:
    """Annotated or associated, each with its roles; filtered by namespace and name."""
    for name in ("a", "b"):
        said("serviceaccount", "annotate", "-n", "listed", "-s", name, *DEMO, "--role-arn", ONE)
    said("association", "create", "-n", "listed", "-s", "b", *DEMO, "--role-arn", TWO)
    shown = rolecall("serviceaccount", "list", "-n", "listed", *DEMO).stdout.splitlines()
    assert [line.split() for line in shown[1:]] == [["listed", "a", "-", ONE], ["listed", "b", TWO, ONE]]
    found = said("serviceaccount", "list", "-n", "listed", "-s", "b", *DEMO)["accounts"]
    assert [(one["namespace"], one["name"]) for one in found] == [("listed", "b")]
    assert found[0]["association"]["roleArn"] == TWO


def test_a_token_is_made_and_read_in_a_pipe(plane: DevPlane, rolecall: Callable[..., Any]) -> None:
    """What kube-apiserver would sign for it; reading it shows all that it says, and not the signature."""
    words = ("-n", "carts", "-s", "carts", *DEMO, "--audience", "x.example", "--duration", "600")
    token = rolecall("token", "create", *words).stdout
    assert token.endswith("\n")
    header, claims = (
        jwt.get_unverified_header(token.strip()),
        jwt.decode(token.strip(), options={"verify_signature": False}),
    )
    assert (claims["sub"], claims["aud"]) == ("system:serviceaccount:carts:carts", ["x.example"])
    assert claims["exp"] - claims["iat"] == 600
    assert "pod" not in claims["kubernetes.io"]
    decoded = rolecall("token", "decode", "-o", "json", input=token)
    assert json.loads(decoded.stdout) == {"header": header, "claims": claims}
    for shown in (decoded.stdout, rolecall("token", "decode", input=f"  {token}\n").stdout):
        assert claims["jti"] in shown
        assert token.strip().rpartition(".")[2] not in shown
    piped = plane.shell("bash", "-c", f"rolecall token create {' '.join(words)} | rolecall token decode")
    assert 'aud: ["x.example"]' in piped.stdout


def test_a_token_can_be_bound_to_a_pod_that_runs(plane: DevPlane, said: Callable[..., Any]) -> None:
    """It says which pod and node; the pod of another service account is refused."""
    said("serviceaccount", "annotate", "-n", "bound", "-s", "web", *DEMO, "--role-arn", ONE)
    command = ["rolecall", "run", "-n", "bound", "-s", "web", *DEMO, "--", "sh", "-c", "echo ready; read wait"]
    with subprocess.Popen(
        command, env=plane.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        done = plane.shell("rolecall", "token", "create", "-n", "bound", "-s", "web", *DEMO, "--pod", "x")
        (pod,) = re.findall(r"running there: (web-[a-z0-9]{5})\n", done.stderr)
        made = said("token", "create", "-n", "bound", "-s", "web", *DEMO, "--pod", pod)
        claims = jwt.decode(made["token"], options={"verify_signature": False})["kubernetes.io"]
        assert (claims["pod"]["name"], claims["node"]["name"]) == (pod, "rolecall-dev")
        done = plane.shell("rolecall", "token", "create", "-n", "bound", "-s", "other", *DEMO, "--pod", pod)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
        running.stdin.close()
    assert running.returncode == 1, "what `read` says at the end of its input"


def test_a_session_is_described_without_its_secrets(plane: DevPlane, rolecall: Callable[..., Any]) -> None:
    """By its access key id: whose it is, until when, which tags, and which of them are transitive."""
    plane.client("eks").create_pod_identity_association(
        clusterName="demo", namespace="looked", serviceAccount="at", roleArn=ONE
    )
    fetch = """if True:
        import os, urllib.request
        token = open(os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).read()
        uri = os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        with urllib.request.urlopen(urllib.request.Request(uri, headers={"Authorization": token})) as answer:
            print(answer.read().decode())
    """
    issued = json.loads(plane.run_as("looked", "at", *DEMO, "--", sys.executable, "-c", fetch).stdout)
    found = json.loads(rolecall("session", "describe", issued["AccessKeyId"], "-o", "json").stdout)
    shown = rolecall("session", "describe", issued["AccessKeyId"]).stdout
    assert found["tags"]["kubernetes-service-account"] == "at"
    assert set(found["transitiveTagKeys"]) == set(found["tags"])
    assert "Tag kubernetes-namespace:        looked (transitive)" in re.sub(r":  +", ":        ", shown)
    assert issued["Expiration"][:10] in shown
    for secret in (issued["SecretAccessKey"], issued["Token"]):
        assert secret not in shown + json.dumps(found)


def test_env_works_in_a_shell(plane: DevPlane) -> None:
    """Evaluated by bash and by sh, from a shell that is set up for another account and behind a proxy."""
    script = 'set -eu; eval "$(rolecall env --state-dir "$1")"; aws sts get-caller-identity --query Arn --output text'
    hostile = {
        "AWS_ACCESS_KEY_ID": "AKIAWORK",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_PROFILE": "work",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_ENDPOINT_URL_IAM": "http://127.0.0.1:1",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "http_proxy": "http://127.0.0.1:1",
        "no_proxy": "corp.example",
    }
    base = {name: value for name, value in plane.environment.items() if not name.startswith(("AWS_", "ROLECALL_"))}
    for shell in ("bash", "sh"):
        done = plane.shell(shell, "-c", script, "x", str(plane.state), env=base | hostile)
        assert done.stdout == "arn:aws:iam::123456789012:user/admin\n", done.stderr
    told = json.loads(plane.shell("rolecall", "env", "-o", "json").stdout)
    assert told.items() <= plane.environment.items()
    assert told["ROLECALL_STATE_DIR"] == str(plane.state)


def test_a_reader_that_goes_away_is_no_defect(plane: DevPlane) -> None:
    """`| head -1`: silence and exit code 2, whatever was being printed."""
    for words in (("env",), ("association", "list", "--cluster", "other"), ("association", "--help")):
        reader, writer = os.pipe()
        os.close(reader)
        done = plane.shell("rolecall", *words, capture_output=False, stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
        assert (done.returncode, done.stderr) == (2, ""), words


def test_a_full_disk_is_a_sentence(plane: DevPlane) -> None:
    """Where the output goes, not where the plane is."""
    with open("/dev/full", "w") as full:
        done = plane.shell("rolecall", "env", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, "No space left" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_completion_completes_in_bash(plane: DevPlane) -> None:
    """The script is sourced, and bash's own completion is called as bash does at a Tab."""
    script = """
        source <(rolecall completion bash)
        complete -p rolecall > /dev/null || exit 1
        function try {
            COMPREPLY=(); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
            _rolecall_completion rolecall
            echo "${COMPREPLY[*]}"
        }
        try rolecall asso
        try rolecall association ""
        try rolecall association create --role
        try rolecall run --via ""
    """
    lines = plane.shell("bash", "-c", script).stdout.splitlines()
    assert [set(line.split()) for line in lines] == [
        {"association"},
        {"create", "delete", "describe", "list", "update"},
        {"--role-arn"},
        {"irsa", "pod-identity", "kube2iam", "kiam", "metadataproxy", "host-role"},
    ]


@pytest.mark.parametrize(
    ("shell", "registers", "word"),
    [("zsh", "#compdef rolecall", "1"), ("fish", "complete --no-files --command rolecall", "asso")],
)
def test_completion_for_other_shells(plane: DevPlane, shell: str, registers: str, word: str) -> None:
    """The script registers itself, and what it would ask is answered; zsh counts words, fish gives the last one."""
    assert registers in plane.shell("rolecall", "completion", shell).stdout
    asked = {"COMP_WORDS": "rolecall asso", "COMP_CWORD": word, "_ROLECALL_COMPLETE": f"{shell}_complete"}
    done = plane.shell("rolecall", env=plane.environment | asked)
    assert (done.returncode, "association" in done.stdout, done.stderr) == (0, True, "")


class StandIn:
    """A state directory whose plane is this test: it holds the lock, and answers when and what the test says."""

    def __init__(self, root: Path) -> None:
        self.state = StateDir(root)
        self.state.prepare()
        write_private(self.state.credentials, b"[rolecall]\naws_access_key_id = AKIA\naws_secret_access_key = s\n")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.state.announce(Running(os.getpid(), url, url, url, "us-west-2", "123456789012", "9.9.9"))

    @contextmanager
    def asked_by(self, *words: str) -> Iterator[tuple[subprocess.Popen[str], socket.socket]]:
        """Run a command; yield it and the connection on which it has just asked."""
        environment = plain_environment(self.state.root) | {"ROLECALL_STATE_DIR": str(self.state.root)}
        with (
            self.state.held(),
            self.listener,
            subprocess.Popen(
                ["rolecall", *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            ) as command,
        ):
            connection, _ = self.listener.accept()
            with connection:
                connection.settimeout(20)
                assert connection.recv(10)
                yield command, connection
            if command.poll() is None:
                command.kill()


def test_ctrl_c_ends_a_command_that_waits(tmp_path: Path) -> None:
    """At once, with 130 and without a trace, though the plane says nothing."""
    with StandIn(tmp_path / "state").asked_by("association", "list") as (command, connection):
        command.send_signal(signal.SIGINT)
        said = command.communicate(timeout=8)
        assert (command.returncode, [text.strip() for text in said]) == (130, ["", ""])
        assert connection.fileno() != -1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "the plane cannot be asked"),
        (b"SSH-2.0-x\r\n", "the plane cannot be asked"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes", "an answer that this rolecall cannot read"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "an answer that this rolecall cannot read"),
        (b"HTTP/1.1 502 Bad\r\ncontent-length: 8\r\n\r\n<h1>\x1b[2J", "an answer that this rolecall cannot read"),
    ],
    ids=["closed", "another protocol", "no JSON", "another version", "a proxy"],
)
def test_what_is_no_plane(tmp_path: Path, answer: bytes, told: str) -> None:
    """Something else answers at its port: exit code 2, and a sentence that tells."""
    with StandIn(tmp_path / "state").asked_by("association", "list") as (command, connection):
        connection.recv(65_536)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        out, err = command.communicate(timeout=20)
    assert (command.returncode, out, told in err, "Traceback" in err) == (2, "", True, False), err


def test_a_plane_that_was_killed_is_not_waited_for(plane: DevPlane, tmp_path: Path) -> None:
    """Its announcement is still there, its lock is not: no plane runs, and nothing is asked."""
    stand_in = StandIn(tmp_path / "state")
    with stand_in.listener:
        done = plane.shell("rolecall", "association", "list", "--state-dir", str(stand_in.state.root))
    assert (done.returncode, "no rolecall dev is running" in done.stderr) == (2, True)
