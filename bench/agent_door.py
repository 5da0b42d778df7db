"""The agent's warm door against nginx, which returns the same bytes without looking at anything."""

from __future__ import annotations

import contextlib
import http.client
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.load import Load, tokens, wrk
from bench.open_loop import open_loop
from bench.processes import Running, free_port, needed, started

OPEN_RATE = 10_000
_NGINX = """
daemon off; worker_processes 1; pid %(dir)s/nginx.pid; error_log /dev/null;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; large_client_header_buffers 4 64k;
  client_body_temp_path %(dir)s; proxy_temp_path %(dir)s; fastcgi_temp_path %(dir)s; uwsgi_temp_path %(dir)s;
  scgi_temp_path %(dir)s;
  server {
    listen 127.0.0.1:%(port)d backlog=4096;
    location = /v1/credentials { default_type application/json; return 200 '%(body)s'; }
  }
}
"""


@contextlib.contextmanager
def agent(work: Path, upstream: int, *flags: str) -> Iterator[Running]:
    """Run the agent as it is shipped, but for its log, in front of a fake EKS Auth."""
    port = free_port()
    env = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "rolecall.daemons.agent", "serve", "--cluster-name", "c", "--region", "us-west-2"]
    command += ["--endpoint", f"http://127.0.0.1:{upstream}", "-b", "127.0.0.1", "-p", str(port)]
    command += ["--probe-port", "0", "--metrics-port", "0", "--verbosity", "warn", *flags]
    with started("agent", command, port, env=env) as running:
        yield running


@contextlib.contextmanager
def fake_eks_auth() -> Iterator[Running]:
    """Run the fake EKS Auth, on the load's processor."""
    port = free_port()
    with started("upstream", [sys.executable, "-m", "bench.upstream", str(port)], port, core=1) as running:
        yield running


@contextlib.contextmanager
def nginx(work: Path, body: str) -> Iterator[Running]:
    """Run nginx with one worker that returns `body`."""
    port = free_port()
    config = work / "nginx.conf"
    config.write_text(_NGINX % {"dir": work, "port": port, "body": body})
    with started("nginx", ["/usr/sbin/nginx", "-c", str(config), "-p", str(work)], port) as running:
        yield running


def ask(port: int, token: str, *, peer: int = 1) -> str:
    """Ask the door once, from 127.0.0.`peer`, and return the body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(f"127.0.0.{peer}", 0))
    try:
        connection.request("GET", "/v1/credentials", headers={"Authorization": token})
        answer = connection.getresponse()
        body = answer.read().decode()
    finally:
        connection.close()
    assert answer.status == 200, body
    return body


def fill(port: int, asked: list[str]) -> str:
    """Ask for all of these, each address for 400 at most, as an address is limited; return the last body."""
    body = ""
    for number, token in enumerate(asked):
        body = ask(port, token, peer=2 + number // 400)
    return body


def measured(server: Running, token_file: Path, seconds: float, *, close: bool = False) -> tuple[Load, float]:
    """Return one run's load and the server's processor time a request, in µs."""
    before = server.cpu_seconds()
    load = wrk(server.port, token_file, seconds=seconds, close=close)
    return load, (server.cpu_seconds() - before) / max(1, load.requests) * 1e6


def run(rounds: int = 5, seconds: float = 3.0) -> list[str]:
    """Measure, and return the rows of the table."""
    needed("nginx", "wrk", "taskset")
    rows = ["| case | agent | nginx | ratio (min to max) | CPU µs/request agent | nginx | p99 µs agent | nginx |"]
    rows.append("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, fake_eks_auth() as upstream:
        work = Path(name)
        with agent(work, upstream.port) as door:
            files = {}
            for count in (100, 2000):
                files[count] = work / f"tokens-{count}"
                files[count].write_text("\n".join(tokens(count)) + "\n")
            body = fill(door.port, tokens(2000))
            with nginx(work, body) as reference:
                for case, count, close in (
                    ("keep-alive, 100 tokens", 100, False),
                    ("keep-alive, 2,000 tokens", 2000, False),
                    ("new connection a request, 100 tokens", 100, True),
                ):
                    rows.append(_case(case, door, reference, files[count], rounds, seconds, close=close))
                rows += _open_loop(door, reference, files[100], rounds, seconds)
            rss, pss = door.memory()
            rows.append(f"\nAgent after the load, 2,000 credentials cached: RSS {rss:.1f} MB, PSS {pss:.1f} MB.")
    return rows


def _open_loop(door: Running, reference: Running, tokens_of: Path, rounds: int, seconds: float) -> list[str]:
    """Return a table of latencies at a rate that does not heed answers; the load, in Python, has no higher one."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(open_loop(door.port, tokens_of, OPEN_RATE, seconds))
        theirs.append(open_loop(reference.port, tokens_of, OPEN_RATE, seconds))
    assert sum(run.errors for run in ours) == 0, "errors at the open loop"
    rows = ["", f"| open loop, {OPEN_RATE:,}/s, 100 tokens | p50 µs | p99 | p99.9 | the load's own lateness, p99 |"]
    rows.append("|---|---|---|---|---|")
    for name, runs in (("agent", ours), ("nginx", theirs)):
        parts = [statistics.median(getattr(run, part) for run in runs) for part in ("p50", "p99", "p999", "late")]
        rows.append(f"| {name} | " + " | ".join(f"{part:,.0f}" for part in parts) + " |")
    return rows


def _case(
    case: str, door: Running, reference: Running, tokens_of: Path, rounds: int, seconds: float, *, close: bool
) -> str:
    ours, theirs = [], []
    # Until it knows all requests: those that it has to read are read at a bounded pace.
    measured(door, tokens_of, max(3.0, seconds), close=close)
    for _ in range(rounds):
        ours.append(measured(door, tokens_of, seconds, close=close))
        theirs.append(measured(reference, tokens_of, seconds, close=close))
    errors = sum(load.errors for load, _ in ours)
    assert errors == 0, f"{case}: {errors} errors"
    ratios = [mine.rate / other.rate for (mine, _), (other, _) in zip(ours, theirs, strict=True)]

    def median(runs: list[tuple[Load, float]], what: str) -> float:
        return statistics.median(cpu if what == "cpu" else float(getattr(load, what)) for load, cpu in runs)

    return (
        f"| {case} | {median(ours, 'rate'):,.0f}/s | {median(theirs, 'rate'):,.0f}/s "
        f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
        f"| {median(ours, 'cpu'):.1f} | {median(theirs, 'cpu'):.1f} "
        f"| {median(ours, 'p99'):,.0f} | {median(theirs, 'p99'):,.0f} |"
    )
