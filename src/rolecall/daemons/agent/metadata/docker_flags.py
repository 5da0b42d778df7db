"""What the flags of a host with containers and without Kubernetes mean: what metadataproxy was told by variables."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from rolecall.core.names import AccountId
from rolecall.core.records import ContainerFacts
from rolecall.daemons.agent.metadata.flags import SOCKET
from rolecall.errors import BadName, Misconfigured
from rolecall.mechanisms.metadata_proxy.identify import address_of
from rolecall.mechanisms.metadata_proxy.settings import Metadataproxy

_SESSION_NAME = "ROLE_SESSION_NAME"
_MEMBERS = frozenset({"name", "account_id", "external_id", "session_name"})
_MAP = "--account-map (AWS_ACCOUNT_MAP)"
_DEFAULT_ACCOUNT = "--default-account-id (DEFAULT_ACCOUNT_ID)"
_MAPPING = "--role-mapping-file (ROLE_MAPPING_FILE)"


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """What the door of a Docker host is told.

    `table` is who has which address by a file: with one, `socket` is not asked. `mocked` is the instance that is made
    up, "" where the node's own documents are passed on.
    """

    rules: Metadataproxy = field(default_factory=Metadataproxy)
    socket: Path = Path(SOCKET)
    table: Mapping[str, ContainerFacts] | None = None
    mocked: str = ""

    def variables(self) -> frozenset[str]:
        """Return the variables of a container that are read; no other is taken out of what the engine says."""
        where, _, name = self.rules.session_key.partition(":")
        return frozenset({"IAM_ROLE", "IAM_EXTERNAL_ID", "IAM_POLICY"} | ({name} if where == "Env" else set()))


def docker_settings(flags: argparse.Namespace, duration: int, read: Callable[[Path], str]) -> DockerSettings:
    """Return what the flags ask for; `read` returns the text of a file. Raises `Misconfigured`."""
    file = flags.role_mapping_file
    rules = Metadataproxy(
        default_role=flags.default_role,
        account=_account(_DEFAULT_ACCOUNT, flags.default_account_id) if flags.default_account_id else "",
        accounts=_accounts(flags.account_map or "{}"),
        session_key=f"Env:{_SESSION_NAME}" if file else _session_key(flags.role_session_key),
        duration=duration,
    )
    return DockerSettings(
        rules=rules,
        socket=Path(flags.docker_socket),
        table=read_mapping(read(Path(file))) if file else None,
        mocked=flags.mock_instance,
    )


def read_mapping(text: str) -> dict[str, ContainerFacts]:
    """Return who has which address by the text of a file: ``{address: role}``.

    A role is a text as in IAM_ROLE, or an object with ``name`` and, where it has them, ``account_id``,
    ``external_id`` and ``session_name``. Raises `Misconfigured`.
    """
    table: dict[str, ContainerFacts] = {}
    for written, role in _object(_MAPPING, text).items():
        try:
            address = address_of(str(ip_address(written)))
        except ValueError:
            raise _bad(_MAPPING, f"{written[:80]!r} is no address") from None
        if address in table:
            raise _bad(_MAPPING, f"the address {address} is there twice")
        members = {"name": role} if isinstance(role, str) else role
        if not isinstance(members, dict) or not all(isinstance(one, str) for one in members.values()):
            raise _bad(_MAPPING, f"the role of {address} is neither a text nor an object of texts")
        if not members.get("name") or not members.keys() <= _MEMBERS:
            raise _bad(_MAPPING, f"the role of {address} has no name, or more than {', '.join(sorted(_MEMBERS))}")
        table[address] = _mapped(address, members)
    return table


def _mapped(address: str, members: Mapping[str, str]) -> ContainerFacts:
    account = members.get("account_id")
    environment = {
        "IAM_ROLE": f"{members['name']}@{account}" if account else members["name"],
        "IAM_EXTERNAL_ID": members.get("external_id", ""),
        _SESSION_NAME: members.get("session_name", ""),
    }
    return ContainerFacts(f"mapped {address}", address, frozenset({address}), environment)


def _account(name: str, text: str) -> str:
    try:
        return AccountId.parse(text)
    except BadName as fault:
        raise Misconfigured(f"{name}: {fault.message}", hint="an account id is 12 digits") from None


def _accounts(text: str) -> dict[str, str]:
    return {name: _account(f"{_MAP}, {name[:80]}", str(number)) for name, number in _object(_MAP, text).items()}


def _session_key(text: str) -> str:
    where, _, name = text.partition(":")
    if text and (where not in ("Env", "Labels") or not name):
        raise Misconfigured(
            f"--role-session-key (ROLE_SESSION_KEY): {text[:80]!r} names nothing",
            hint="write Env:NAME or Labels:NAME",
        )
    return text


def _object(name: str, text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _bad(name, "it is no JSON object")
    return found


def _bad(name: str, sentence: str) -> Misconfigured:
    return Misconfigured(f"{name} cannot be used: {sentence}", hint="see docs/reference/metadataproxy.md")
