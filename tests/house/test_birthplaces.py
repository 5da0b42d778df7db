"""Value types have one birthplace: to hold one is to know that the right code made it."""

from __future__ import annotations

import ast
from pathlib import Path

from house.source import Finding, Module, house, matches, plant, report

# Type → where it may be constructed, and what holding one then means.
BIRTHPLACES = {
    # Signature, issuer, audience and times were checked.
    "VerifiedClaims": ("rolecall/core/tokens/verify.py",),
    # A generation's rules were asked.
    # What an AWSIAMRole gets is decided beside what its Secret holds.
    "Grant": ("rolecall/mechanisms/*/decide.py", "rolecall/mechanisms/metadata_proxy/secret_files.py"),
    # They came out of an answer of STS, EKS Auth or IMDS, or out of our own STS; an agent reads back what the one
    # before it was answered. Fakes issue fake ones.
    "Credentials": (
        "rolecall/daemons/agent/warm/wire.py",
        "rolecall/mechanisms/*/wire.py",
        "rolecall/mechanisms/metadata_proxy/remote/wire.py",
        "rolecall/edges/aws/**",
        "rolecall/daemons/local_aws/sts/**",
        "rolecall/testing/**",
    ),
}


def born_elsewhere(modules: list[Module]) -> list[Finding]:
    """Find constructions of the types above outside of their birthplaces."""
    found: list[Finding] = []
    for module in modules:
        strangers = {name for name, places in BIRTHPLACES.items() if not matches(module.path, places)}
        for node, called in module.calls():
            born = strangers & {_constructed(module, node, called)}
            found += [module.finding(node, f"{name} is constructed outside of its birthplace") for name in born]
        for cls in (node for node in module.nodes if isinstance(node, ast.ClassDef) and node.name in strangers):
            makers = [
                call for call in ast.walk(cls) if isinstance(call, ast.Call) and module.dotted(call.func) == "cls"
            ]
            found += [module.finding(call, f"{cls.name} constructs itself") for call in makers]
    return found


def _constructed(module: Module, node: ast.Call, called: str) -> str:
    """Return the name of the type that a call makes an instance of, or ""."""
    place, _, name = called.rpartition(".")
    if name == "__new__" and node.args:
        place, _, name = module.dotted(node.args[0]).rpartition(".")
    elif called in {"dataclasses.replace", "copy.replace", "msgspec.structs.replace"} and node.args:
        return _annotated(module, node)
    here = any(isinstance(top, ast.ClassDef) and top.name == name for top in module.tree.body)
    return name if place.startswith("rolecall.") or (not place and here) else ""


def _annotated(module: Module, call: ast.Call) -> str:
    """Return the annotated type of the argument that `replace` copies, where a parameter names it."""
    copied = call.args[0]
    for function in module.nodes:
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and call in ast.walk(function):
            for argument in (*function.args.args, *function.args.kwonlyargs, *function.args.posonlyargs):
                if isinstance(copied, ast.Name) and argument.arg == copied.id and argument.annotation:
                    return module.dotted(argument.annotation).rpartition(".")[2]
    return ""


def test_value_types_have_one_birthplace() -> None:
    """In the house, nothing is born elsewhere."""
    found = born_elsewhere(house())
    assert not found, report(found)


def test_every_type_of_the_table_exists() -> None:
    """A renamed type would leave a rule that guards nothing."""
    defined = {node.name for module in house() for node in module.nodes if isinstance(node, ast.ClassDef)}
    assert set(BIRTHPLACES) <= defined


def test_a_planted_birth_is_found(tmp_path: Path) -> None:
    """Each way to make one is seen, and a namesake from elsewhere is not taken for it."""
    modules = plant(
        tmp_path,
        {
            "rolecall/mechanisms/irsa/identify.py": (
                "from rolecall.core.tokens.claims import VerifiedClaims\nclaims = VerifiedClaims(subject='me')\n"
            ),
            "rolecall/daemons/server/build.py": "from rolecall.core import grant as g\nx = g.Grant((), ())\n",
            "rolecall/core/tokens/claims.py": (
                "class VerifiedClaims:\n    @classmethod\n    def trust_me(cls):\n        return cls()\n"
            ),
            "rolecall/cli/run.py": (
                "import dataclasses\nfrom rolecall.core.credentials import Credentials\n"
                "def longer(held: Credentials):\n    return dataclasses.replace(held, expires_at=1e12)\n"
            ),
            "rolecall/cli/env.py": (
                "from rolecall.core.credentials import Credentials\nx = object.__new__(Credentials)\n"
            ),
            "rolecall/edges/aws/sts.py": "from rolecall.core.credentials import Credentials\nx = Credentials()\n",
            "rolecall/edges/store/other.py": "from botocore.credentials import Credentials\nx = Credentials()\n",
        },
    )
    assert [finding.path for finding in born_elsewhere(modules)] == [
        "rolecall/cli/env.py",
        "rolecall/cli/run.py",
        "rolecall/core/tokens/claims.py",
        "rolecall/daemons/server/build.py",
        "rolecall/mechanisms/irsa/identify.py",
    ]
