"""Load by wrk, from a processor of its own, over pre-built requests that rotate through tokens."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LUA = """
local requests = {}
for line in io.lines("%s") do
  requests[#requests + 1] = "GET %s HTTP/1.1\\r\\nHost: 127.0.0.1:%d\\r\\n%s: " .. line ..
    "\\r\\nUser-Agent: Boto3/1.44 md/Botocore Python/3.11\\r\\nAccept: application/json\\r\\n%s\\r\\n"
end
local at = 0
request = function()
  at = at %% #requests + 1
  return requests[at]
end
"""
_POST = """
local requests = {}
for line in io.lines("%s") do
  requests[#requests + 1] = "POST /mutate?timeout=10s HTTP/1.1\\r\\nHost: 127.0.0.1:%d\\r\\n" ..
    "Content-Type: application/json\\r\\n%sContent-Length: " .. #line .. "\\r\\n\\r\\n" .. line
end
local at = 0
request = function()
  at = at %% #requests + 1
  return requests[at]
end
"""
_DONE = """
done = function(summary, latency, _)
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status +
    summary.errors.timeout))
end
"""


POD_IDENTITY = ("/v1/credentials", "Authorization")
"""What is asked for, and the header that a token is shown in."""


@dataclass(frozen=True)
class Load:
    """What came of one run: requests a second, latencies in µs, requests in all, errors."""

    rate: float
    p50: float
    p99: float
    requests: int
    errors: int


def tokens(count: int) -> list[str]:
    """Return tokens as long as real ones (about 1,240 bytes), which differ and do not expire."""
    made = []
    for number in range(count):
        claims = {"exp": 4102444800, "iat": 1, "sub": f"system:serviceaccount:ns:sa-{number}", "pad": "x" * 550}
        parts = ({"alg": "RS256", "kid": "k" * 43}, claims)
        text = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
        made.append(f"{text}.{'A' * 342}")
    return made


def wrk(
    port: int,
    token_file: Path,
    *,
    seconds: float,
    connections: int = 64,
    close: bool = False,
    core: int = 1,
    asked: tuple[str, str] = POD_IDENTITY,
) -> Load:
    """Run wrk once and return what it measured."""
    script = token_file.with_suffix(".close.lua" if close else ".lua")
    filled = (token_file, asked[0], port, asked[1], "Connection: close\\r\\n" if close else "")
    script.write_text(_LUA % filled + _DONE)
    return _wrk(script, f"http://127.0.0.1:{port}", seconds, connections, core)


def reviews(port: int, body_file: Path, *, seconds: float, connections: int = 32, close: bool = False) -> Load:
    """Have wrk post reviews, one a line of the file, over TLS."""
    script = body_file.with_suffix(".close.lua" if close else ".lua")
    script.write_text(_POST % (body_file, port, "Connection: close\\r\\n" if close else "") + _DONE)
    return _wrk(script, f"https://127.0.0.1:{port}", seconds, connections, core=1)


def _wrk(script: Path, url: str, seconds: float, connections: int, core: int) -> Load:
    words = [
        "taskset",
        "-c",
        str(core),
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--timeout=10s",
    ]
    done = subprocess.run([*words, "-s", str(script), url], capture_output=True, text=True, check=True)
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    requests, micros, p50, p99, errors = map(int, found.groups())
    return Load(requests / (micros / 1e6), p50, p99, requests, errors)


@contextlib.contextmanager
def flood(port: int, token_file: Path, *, core: int = 1) -> Iterator[None]:
    """Have wrk ask as fast as it can, on 16 connections, until the context ends."""
    script = token_file.with_suffix(".flood.lua")
    script.write_text(_LUA % (token_file, POD_IDENTITY[0], port, POD_IDENTITY[1], "") + _DONE)
    words = ["taskset", "-c", str(core), "wrk", "-t1", "-c16", "-d60s", "-s", str(script), f"http://127.0.0.1:{port}"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()
