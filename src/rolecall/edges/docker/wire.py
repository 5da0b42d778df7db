"""The shapes of the Docker Engine API that are read: a list of running containers, and one container (API v1.41)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from rolecall.core.records import ContainerFacts
from rolecall.errors import Upstream

_RANCHER = "io.rancher.container.ip"  # where Rancher's own network keeps the address


class _Network(msgspec.Struct, rename="pascal"):
    ip_address: str = msgspec.field(default="", name="IPAddress")
    global_ipv6_address: str = msgspec.field(default="", name="GlobalIPv6Address")


class _Networks(msgspec.Struct, rename="pascal"):
    networks: dict[str, _Network | None] | None = None


class _HostConfig(msgspec.Struct, rename="pascal"):
    network_mode: str = ""


class _Listed(msgspec.Struct, rename="pascal"):
    id: str
    names: list[str] | None = None
    labels: dict[str, str] | None = None
    network_settings: _Networks | None = None
    host_config: _HostConfig | None = None


class _Config(msgspec.Struct, rename="pascal"):
    env: list[str] | None = None
    labels: dict[str, str] | None = None


class _State(msgspec.Struct, rename="pascal"):
    running: bool = False


class _Inspected(msgspec.Struct, rename="pascal"):
    id: str
    name: str
    config: _Config
    state: _State
    network_settings: _Networks
    host_config: _HostConfig


def decode_list(body: bytes) -> list[ContainerFacts]:
    """Return the running containers with their addresses, without their environments; raises `Upstream`."""
    try:
        found = msgspec.json.decode(body, type=list[_Listed])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Upstream("the Docker engine's list of containers cannot be read") from None
    return [
        ContainerFacts(
            id=one.id,
            name=_name(one.names[0] if one.names else one.id),
            addresses=_addresses(one.network_settings, one.labels),
            labels=one.labels or {},
            host_network=one.host_config is not None and one.host_config.network_mode == "host",
        )
        for one in found
    ]


def decode_container(body: bytes, *, keep: Collection[str]) -> ContainerFacts:
    """Return a container, of its environment only the variables in `keep`; raises `Upstream`.

    Of a variable that is there twice the last counts, as for its programs; one without ``=`` is not set.
    """
    try:
        one = msgspec.json.decode(body, type=_Inspected)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Upstream("the Docker engine's answer about a container cannot be read") from None
    return ContainerFacts(
        id=one.id,
        name=_name(one.name),
        addresses=_addresses(one.network_settings, one.config.labels),
        environment=_variables(one.config.env or (), keep),
        labels=one.config.labels or {},
        host_network=one.host_config.network_mode == "host",
        running=one.state.running,
    )


def _variables(lines: Iterable[str], keep: Collection[str]) -> dict[str, str]:
    parts = (line.partition("=") for line in lines)
    return {name: value for name, sign, value in parts if sign and name in keep}


def _addresses(settings: _Networks | None, labels: dict[str, str] | None) -> frozenset[str]:
    networks = [one for one in ((settings and settings.networks) or {}).values() if one is not None]
    found = {one.ip_address for one in networks} | {one.global_ipv6_address for one in networks}
    found.add((labels or {}).get(_RANCHER, "").partition("/")[0])
    return frozenset(found - {""})


def _name(text: str) -> str:
    return text.removeprefix("/")
