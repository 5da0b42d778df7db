"""Where a program of ``rolecall run`` finds the plane, the agent and its metadata service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rolecall.edges.http_call import split_url
from rolecall.edges.own_network import Door, Enter, own_network
from rolecall.edges.state_dir import Running

METADATA = "http://169.254.169.254"


@dataclass(frozen=True, slots=True)
class Doors:
    """The doors of one pod. `metadata` is the URL of its metadata service, if it has one.

    `real` puts the program into a network of its own, where the metadata service is at the address that it has on a
    node. The agent stays where it is: it answers under its own addresses only, as AWS's does.
    """

    running: Running
    real: bool = False
    metadata: str | None = None

    @property
    def endpoint(self) -> str | None:
        """Where the metadata service is, as the program has to be told; None where it need not be."""
        return None if self.real else self.metadata

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts to which no proxy leads."""
        if self.metadata is None:
            return ()
        return (split_url(METADATA if self.real else self.metadata)[0].host,)

    @asynccontextmanager
    async def network(self) -> AsyncIterator[Enter | None]:
        """Make the program's network, if it is to have one of its own; raises `Misconfigured` where that cannot be."""
        if not self.real:
            yield None
            return
        async with own_network(self._ways()) as enter:
            yield enter

    def _ways(self) -> Mapping[Door, Door]:
        """Return where to listen in that network, and where each leads."""
        ways = {door: door for door in (_door(self.running.url), _door(self.running.agent_url))}
        return ways if self.metadata is None else ways | {_door(METADATA): _door(self.metadata)}


def _door(url: str) -> Door:
    origin = split_url(url)[0]
    return origin.host, origin.port
