"""Only ``door.py``, ``wire.py`` and ``review.py`` know wire shapes: how a message is spelled in bytes.

What counts as knowing one: to encode or decode JSON, XML, forms or another format, to define a `msgspec.Struct`,
to read AWS's service models, or to spell markup by hand.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from house.source import Finding, Module, house, matches, plant, report

WIRE_FILES = ("rolecall/**/door.py", "rolecall/**/wire.py", "rolecall/**/review.py")

COLUMN = "lists and maps in columns of the plane's own tables: state, read by nobody else"
# Who else may, which kind of it, and why.
EXCEPTIONS: dict[str, tuple[str, str]] = {
    "rolecall/cli/output.py": ("JSON", "-o json is for people and scripts"),
    "rolecall/cli/plane.py": ("JSON, form", "the one client of the plane's API: the other end of its wire"),
    "rolecall/cli/webhook.py": ("JSON, other format", "manifests are YAML or JSON, as people keep them"),
    "rolecall/core/policy/json_tree.py": ("JSON", "policy documents are the language that core/policy understands"),
    "rolecall/core/tokens/jws.py": ("JSON", "a JWS is taken apart here and nowhere else (RFC 7515)"),
    "rolecall/core/tokens/keys.py": ("JSON", "a JWK set is read here and nowhere else (RFC 7517)"),
    "rolecall/core/tokens/read.py": ("JSON, struct", "the forms of a token's claims: what an issuer signs"),
    "rolecall/daemons/agent/config.py": ("JSON", "the clusters file is a setting"),
    "rolecall/daemons/agent/metadata/mocked.py": ("JSON", "the identity document of an instance that is made up"),
    "rolecall/daemons/agent/metadata/docker_flags.py": ("JSON", "two of metadataproxy's settings are maps"),
    "rolecall/daemons/agent/probes.py": ("JSON", "how the agent is, for kubelets and people"),
    "rolecall/daemons/controller/probes.py": ("JSON", "how the controller is, for kubelets and people"),
    "rolecall/daemons/webhook/probes.py": ("JSON", "how the webhook is, for kubelets and people"),
    "rolecall/daemons/local_aws/authenticate.py": ("JSON", COLUMN),
    "rolecall/daemons/local_aws/apiserver/accounts.py": ("JSON", COLUMN),
    "rolecall/daemons/local_aws/apiserver/namespaces.py": ("JSON", COLUMN),
    "rolecall/daemons/local_aws/eks/addons.py": ("JSON", COLUMN),
    "rolecall/daemons/local_aws/eks/association_store.py": ("JSON", COLUMN),
    "rolecall/daemons/local_aws/eks/clusters.py": ("JSON", COLUMN),
    "rolecall/daemons/local_aws/iam/managed_policies.py": ("JSON", COLUMN),
    "rolecall/daemons/local_aws/iam/providers.py": ("JSON", COLUMN),
    "rolecall/daemons/local_aws/iam/records.py": ("JSON", COLUMN),
    "rolecall/daemons/local_aws/iam/roles.py": ("JSON", COLUMN),
    "rolecall/daemons/local_aws/imds/instance.py": ("JSON", "the policies that the node's role is made with"),
    "rolecall/daemons/local_aws/issuers.py": ("JSON", "the door of discovery and keys says `use GET` as JSON"),
    "rolecall/daemons/local_aws/state_files.py": ("JSON", "the clusters file, which the agent reads as a setting"),
    "rolecall/daemons/local_aws/signing_keys.py": (
        "JSON",
        "issuer: writes JWS, JWK set and discovery (RFC 7515, 7517)",
    ),
    "rolecall/daemons/local_aws/sts/sessions.py": ("JSON", COLUMN),
    "rolecall/daemons/server/shapes.py": ("service model", "checks parameters against AWS's models for every wire.py"),
    "rolecall/mechanisms/metadata_proxy/secret_files.py": ("JSON", "credentials.json, byte for byte the original's"),
    "rolecall/edges/child_process.py": ("JSON", "reads the events that edges/telemetry.py writes"),
    "rolecall/edges/oidc_keys.py": ("JSON", "discovery documents: it is the only fetcher of keys"),
    "rolecall/edges/rtnetlink.py": ("other format", "netlink messages: the kernel's, and no mechanism's"),
    "rolecall/edges/state_dir.py": ("JSON, struct", "the file by which commands find the running plane"),
    "rolecall/edges/telemetry.py": ("JSON", "log lines"),
}

KINDS = {
    "JSON": ("json.**", "msgspec.json.**", "msgspec.convert", "msgspec.to_builtins", "simplejson.**", "orjson.**"),
    "struct": ("msgspec.Struct", "msgspec.defstruct"),
    "form": ("urllib.parse.parse_qs", "urllib.parse.parse_qsl", "urllib.parse.urlencode", "email.mime.**", "cgi.**"),
    "markup": ("xml.**", "html.**", "plistlib.**", "lxml.**", "defusedxml.**"),
    "service model": ("botocore.model.**", "botocore.session.**", "botocore.parsers.**", "botocore.serialize.**"),
    "other format": (
        "msgspec.msgpack.**", "msgspec.yaml.**", "msgspec.toml.**", "yaml.**", "tomllib.**", "csv.**", "struct.**",
        "pickle.**", "marshal.**", "configparser.**",
    ),
}  # fmt: skip
# What an error of a decoder is called is no shape: whoever hands bytes in may catch it.
INNOCENT = ("json.JSONDecodeError", "xml.parsers.expat.ExpatError")
_MARKUP = re.compile(r"(?<!\?P)</?[A-Za-z][\w:.-]*( [\w:]+=\"[^\"]*\")?/?>")
_JSON_BY_HAND = re.compile(r'\{\s*"\w+"\s*:')


def wire_shapes(modules: list[Module]) -> list[Finding]:
    """Find whatever knows how a message is spelled, wherever it is; one finding a line and kind."""
    found: dict[tuple[str, int, str], Finding] = {}
    for module in modules:
        for finding in (*_formats(module), *_by_hand(module)):
            found.setdefault((finding.path, finding.line, finding.what.partition(":")[0]), finding)
    return list(found.values())


def wire_shapes_out_of_place(modules: list[Module]) -> list[Finding]:
    """Find the same where it does not belong and no exception of that kind is made."""
    return [
        finding
        for finding in wire_shapes(modules)
        if not matches(finding.path, WIRE_FILES) and _kind(finding) not in _excused(finding.path)
    ]


def _kind(finding: Finding) -> str:
    return finding.what.partition(":")[0]


def _excused(path: str) -> list[str]:
    return EXCEPTIONS[path][0].split(", ") if path in EXCEPTIONS else []


def _formats(module: Module) -> list[Finding]:
    """Find uses of the libraries. An import alone is none, but for a name that it brings in bare."""
    found = []
    imported = {name.partition(".")[0] for name in module.aliases.values()}
    bases = {id(base) for node in module.nodes if isinstance(node, ast.ClassDef) for base in node.bases}
    bare = [(node, name) for node, name in module.imports if isinstance(node, ast.ImportFrom)]
    for node, name in [*module.names_used(), *bare]:
        kind = next((kind for kind, names in KINDS.items() if matches(name, names)), "")
        # To name Struct in an annotation is to pass on what somebody else has shaped.
        mention = name == "msgspec.Struct" and id(node) not in bases
        if kind and name.partition(".")[0] in imported and not mention and not matches(name, INNOCENT):
            found.append(module.finding(node, f"{kind}: {name}"))
    return found


def _by_hand(module: Module) -> list[Finding]:
    """Find text that is markup or JSON already, docstrings apart."""
    found = []
    docstrings = {id(node.value) for node in module.nodes if isinstance(node, ast.Expr)}
    for node in module.nodes:
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str | bytes) or id(node) in docstrings:
            continue
        text = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
        if _MARKUP.search(text):
            found.append(module.finding(node, f"markup: by hand, {text[:40]!r}"))
        elif _JSON_BY_HAND.search(text):
            found.append(module.finding(node, f"JSON: by hand, {text[:40]!r}"))
    return found


def test_only_wire_files_know_wire_shapes() -> None:
    """In the house, one file of each room spells its messages."""
    found = wire_shapes_out_of_place(house())
    assert not found, report(found)


def test_every_exception_is_still_needed() -> None:
    """What a listed file no longer does is struck off."""
    done = {(finding.path, _kind(finding)) for finding in wire_shapes(house())}
    idle = [(path, kind) for path in EXCEPTIONS for kind in _excused(path) if (path, kind) not in done]
    assert not idle
    assert {kind for path in EXCEPTIONS for kind in _excused(path)} <= {*KINDS}


def test_a_planted_shape_is_found(tmp_path: Path) -> None:
    """Every kind, by import and by hand; an exception covers its own kind only."""
    violations = {
        "rolecall/core/a.py": "import json\nx = json.dumps({})\n",
        "rolecall/core/b.py": "def f(body):\n    from json import loads as read\n    return read(body)\n",
        "rolecall/core/c.py": "import msgspec\nclass Answer(msgspec.Struct, rename='camel'):\n    a: int\n",
        "rolecall/core/d.py": "from msgspec import Struct as S\nclass Answer(S):\n    a: int\n",
        "rolecall/core/e.py": "import msgspec\nreader = msgspec.json.Decoder(dict)\n",
        "rolecall/core/f.py": "from urllib.parse import parse_qsl\nx = parse_qsl('a=b')\n",
        "rolecall/core/g.py": "from xml.etree import ElementTree\nx = ElementTree.fromstring('')\n",
        "rolecall/core/h.py": "def f(code):\n    return f'<Code>{code}</Code>'\n",
        "rolecall/core/i.py": "def f(code):\n    return b'{\"__type\": \"' + code + b'\"}'\n",
        "rolecall/core/j.py": "import botocore.session\nx = botocore.session.Session()\n",
        "rolecall/daemons/k.py": "import pickle\nx = pickle.loads\n",
        "rolecall/mechanisms/irsa/decide.py": "from msgspec import json as j\nx = j.encode\n",
        # Excused for JSON, not for structs of its own.
        "rolecall/core/tokens/jws.py": "import msgspec\nclass Header(msgspec.Struct):\n    alg: str\n",
    }
    innocent = {
        "rolecall/mechanisms/irsa/wire.py": "import json\nx = json.dumps({})\n",
        "rolecall/mechanisms/irsa/door.py": "import msgspec\nclass A(msgspec.Struct):\n    a: int\n",
        "rolecall/daemons/webhook/review.py": "import msgspec\nx = msgspec.json.encode\n",
        "rolecall/core/policy/json_tree.py": "import json\nx = json.loads('{}')\n",
        "rolecall/core/l.py": "import msgspec\ndef f(message: msgspec.Struct) -> msgspec.Struct:\n    return message\n",
        "rolecall/core/m.py": "import json\ntry:\n    pass\nexcept json.JSONDecodeError:\n    pass\n",
        "rolecall/core/n.py": '"""Answers ``{"a": "b"}`` or <Code>."""\nfrom urllib.parse import quote\nx = "a < b"\n',
        "rolecall/core/o.py": "import re\nx = re.compile('(?P<name>[a-z]+)')\n",
    }
    found = wire_shapes_out_of_place(plant(tmp_path, violations | innocent))
    assert {finding.path for finding in found} == set(violations)
