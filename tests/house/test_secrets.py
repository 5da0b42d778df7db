"""A secret is opened where the allow-list below says why, and nowhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from house.source import SRC, Finding, Module, house, matches, plant, report, unused

HOME = "rolecall/core/secrets.py"
# Where a secret is revealed, and what for.
REVEALS = {
    "rolecall/daemons/agent/hot_path.py": "an answer that is kept shares the session token with its credentials",
    "rolecall/daemons/agent/kiam/remote.py": "the agent's own token, for kiam's server and nobody else",
    "rolecall/daemons/agent/warm/wire.py": "the warm-restart file: memory of the same node, for the next agent",
    "rolecall/daemons/controller/wire.py": "the Secret of an AWSIAMRole is sent to the API server",
    "rolecall/daemons/local_aws/iam/records.py": "the plane's database holds its users' keys, for checking SigV4",
    "rolecall/daemons/local_aws/iam/users.py": "CreateAccessKey's answer shows the new key, once",
    "rolecall/daemons/local_aws/state_files.py": "the credentials files of admin and node, mode 0600",
    "rolecall/daemons/local_aws/sts/sessions.py": "STS' answer; and the database, for checking SigV4 later",
    "rolecall/daemons/server/eks_auth.py": "AWS' sentence about an expired token says when it expired",
    "rolecall/daemons/webhook/certificate/wire.py": "the Secret that the replicas share holds the certificate's key",
    "rolecall/edges/aws/authentication.py": "the agent's own token, for Rolecall's server and nobody else",
    "rolecall/edges/aws/container.py": "the agent's own token for the one who issues it credentials",
    "rolecall/edges/aws/eks_auth.py": "withholds an upstream's error message that quotes the token",
    "rolecall/edges/aws/imds.py": "IMDSv2's session token goes with each question",
    "rolecall/edges/aws/sigv4.py": "X-Amz-Security-Token carries the session token",
    "rolecall/edges/aws/sigv4_canonical.py": "the signing key is derived from the secret access key",
    "rolecall/edges/aws/web_identity.py": "withholds an error message of STS that quotes the token",
    "rolecall/edges/aws/wire.py": "AssumeRoleWithWebIdentity carries the token",
    "rolecall/edges/http_client.py": "Proxy-Authorization carries the proxy's password",
    "rolecall/edges/http_stream.py": "so does the request for a tunnel",
    "rolecall/edges/kube/client.py": "the API server is shown our own account's token",
    "rolecall/edges/server_tls.py": "OpenSSL is given the private key of the listener's certificate",
    "rolecall/mechanisms/imds/door.py": "a pod is given the session token that it asked for",
    "rolecall/mechanisms/imds/session_token.py": "session tokens are signed with the agent's own key",
    "rolecall/mechanisms/imds/wire.py": "the pod is answered with its credentials",
    "rolecall/mechanisms/irsa/identify.py": "the token is verified: who asks is read out of it",
    "rolecall/mechanisms/metadata_proxy/remote/wire.py": "server to agent: the credentials; an agent's token, reviewed",
    "rolecall/mechanisms/metadata_proxy/secret_files.py": "a Secret's files hold the credentials that a pod mounts",
    "rolecall/mechanisms/pod_identity/door.py": "the pod is answered with its credentials; the token's end is read",
    "rolecall/mechanisms/pod_identity/identify.py": "the token is verified: who asks is read out of it",
    "rolecall/mechanisms/pod_identity/wire.py": "agent to server: the token; server to agent: the credentials",
}
METHODS = ("reveal", "reveal_bytes")
# Each opens a Secret: the methods, and the attribute that Python makes of ``__value`` in a class of that name.
OPENERS = {*METHODS, "_Secret__value"}


def reveals(modules: list[Module]) -> list[Finding]:
    """Find everything that opens a secret, or could: calls, references, and the names as text for `getattr`."""
    found = []
    for module in modules:
        if module.path == HOME:
            continue
        docstrings = set(_docstrings(module))
        for node in module.nodes:
            if isinstance(node, ast.Attribute) and node.attr in OPENERS:
                found.append(module.finding(node, f"opens a secret: .{node.attr}"))
            elif isinstance(node, ast.Constant) and node.value in OPENERS and id(node) not in docstrings:
                found.append(module.finding(node, f"opens a secret by name: {node.value!r}"))
            elif isinstance(node, ast.ClassDef) and node.name.lstrip("_") == "Secret":
                found += _namesake(module, node)
    return found


def reveals_out_of_place(modules: list[Module]) -> list[Finding]:
    """Find what opens a secret where nobody has said why. Nothing excuses going past its methods."""
    return [
        finding
        for finding in reveals(modules)
        if not matches(finding.path, REVEALS) or not finding.what.endswith(tuple(f".{name}" for name in METHODS))
    ]


def _namesake(module: Module, node: ast.ClassDef) -> Iterator[Finding]:
    """Find ``x.__value`` in another class called Secret: there it means ``x._Secret__value``."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and inner.attr == "__value":
            yield module.finding(inner, f"opens a secret: .__value in a class {node.name}")


def _docstrings(module: Module) -> Iterator[int]:
    for node in module.nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield id(node.value)


def test_secrets_are_revealed_where_there_is_a_reason() -> None:
    """In the house, whoever opens a secret is on the list."""
    found = reveals_out_of_place(house())
    assert not found, report(found)


def test_every_reason_is_still_needed() -> None:
    """A listed file that opens nothing any more comes off the list."""
    assert not unused(REVEALS, house(), reveals)


def test_every_reason_is_one_line() -> None:
    """The list names files, not directories, and gives each one reason."""
    assert not [path for path in REVEALS if "*" in path]
    assert not [path for path, why in REVEALS.items() if len(why) < 20 or "\n" in why]
    assert [*REVEALS] == sorted(REVEALS)


@pytest.fixture
def opened() -> dict[str, str]:
    """One file for each road into a secret."""
    return {
        "rolecall/core/a.py": "def f(token):\n    return token.reveal()\n",
        "rolecall/core/b.py": "def f(tokens):\n    return [read() for read in (token.reveal for token in tokens)]\n",
        "rolecall/core/c.py": "from rolecall.core.secrets import Secret\nread = Secret.reveal\n",
        "rolecall/core/d.py": "def f(token):\n    return getattr(token, 'reveal')()\n",
        "rolecall/core/e.py": "import operator\nread = operator.methodcaller('reveal')\n",
        "rolecall/core/f.py": "def f(token):\n    return token._Secret__value\n",
        "rolecall/core/g.py": "def f(token):\n    return object.__getattribute__(token, '_Secret__value')\n",
        "rolecall/core/j.py": "def f(token):\n    return token.reveal_bytes()\n",
        "rolecall/core/h.py": "class Secret:\n    def f(self, token):\n        return token.__value\n",
        # On the list, and still not allowed to go past `reveal`.
        "rolecall/edges/aws/sigv4.py": "def f(token):\n    return token._Secret__value\n",
    }


def test_a_planted_opening_is_found(tmp_path: Path, opened: dict[str, str]) -> None:
    """Calls, references, names as text and the mangled attribute are seen; the home and the listed are not."""
    innocent = {
        HOME: "class Secret:\n    def reveal(self):\n        return self.__value\n",
        "rolecall/edges/http_client.py": "def f(secret):\n    return secret.reveal()\n",
        "rolecall/core/i.py": '"""reveal"""\ndef reveal_all():\n    return {"revealed": 1}\n',
    }
    found = reveals_out_of_place(plant(tmp_path, opened | innocent))
    assert {finding.path for finding in found} == set(opened)


def test_an_idle_reason_is_found(tmp_path: Path) -> None:
    """A file on the list that opens nothing is named."""
    modules = plant(tmp_path, {"rolecall/edges/http_client.py": "x = 1\n"})
    assert unused(["rolecall/edges/http_client.py"], modules, reveals) == ["rolecall/edges/http_client.py"]


def test_the_home_is_where_the_rule_thinks() -> None:
    """Were Secret moved or its slot renamed, the rule would look for the wrong words."""
    text = (SRC / HOME).read_text("utf-8")
    assert "class Secret" in text
    assert all(f"def {name}(" in text for name in METHODS)
    assert "self.__value" in text
