"""Reviews at a fixed pace, whatever the answers do: how long each took from the moment when it was due.

A closed loop waits for a slow answer and asks nobody meanwhile, which hides what others would have waited.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles

import uvloop

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Paced:
    """Latencies in ms, and how many answers were not 200."""

    p50: float
    p99: float
    most: float
    errors: int


def paced(port: int, requests: Sequence[bytes], *, rate: float, seconds: float) -> Paced:
    """Send these in turn, over TLS connections that are kept, and return how it went."""
    return uvloop.run(_run(port, requests, rate, round(rate * seconds)))


async def _run(port: int, requests: Sequence[bytes], rate: float, number: int) -> Paced:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    idle: list[Connection] = []
    errors = 0

    async def one(at: float, request: bytes) -> float:
        nonlocal errors
        await asyncio.sleep(at - time.perf_counter())
        # As Go does: the connection that was used last, and a new one only where none is idle.
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        errors += not head.startswith(b"HTTP/1.1 200")
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
        took = time.perf_counter() - at
        idle.append((reader, writer))
        return took * 1000

    begins = time.perf_counter() + 0.5
    took = await asyncio.gather(*(one(begins + n / rate, requests[n % len(requests)]) for n in range(number)))
    for _, writer in idle:
        writer.close()
    cuts = quantiles(took, n=100)
    return Paced(cuts[49], cuts[98], max(took), errors)
