"""``kiam health``: asks a server until it is well, or the time is over."""

from __future__ import annotations

import asyncio
import sys

from rolecall.core.names import ClusterName
from rolecall.daemons.agent.kiam.config import read_health
from rolecall.daemons.agent.kiam.remote import KiamServer
from rolecall.edges.clock import SystemClock
from rolecall.edges.http_client import HttpClient
from rolecall.edges.tls import ClientTls
from rolecall.errors import RolecallError

_AGAIN = 0.1


def health(words: list[str]) -> int:
    """Return 0 once the server says that it is well, 1 where it does not within the time. Raises `Misconfigured`."""
    address, files, seconds = read_health(words)
    said = asyncio.run(_ask(address, ClientTls(files), seconds))
    sys.stdout.write(f"{said}\n")
    return 0 if said == "ok" else 1


async def _ask(address: str, tls: ClientTls, seconds: float) -> str:
    http = HttpClient(at_once=1, waiting=1, tls=tls)
    try:
        return await _until_well(KiamServer(f"https://{address}", http, ClusterName.parse("here"), None), seconds)
    finally:
        http.close()  # in its loop: its connections are of that


async def _until_well(server: KiamServer, seconds: float) -> str:
    clock = SystemClock()
    end = clock.monotonic() + seconds
    while True:
        try:
            said = await server.health()
        except RolecallError as fault:
            said = fault.message
        if said == "ok" or clock.monotonic() >= end:
            return said
        await clock.sleep(_AGAIN)
