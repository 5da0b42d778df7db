"""The metadata door beside Pod Identity's, of one agent: warm credentials, and one call to STS for fifty callers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from bench.agent_door import fill
from bench.load import POD_IDENTITY, Load, tokens, wrk
from bench.processes import Running, free_port, needed, started

ROLE = "/latest/meta-data/iam/security-credentials/reader"
IMDS = (ROLE, "X-aws-ec2-metadata-token")
_WARM = 3.0


@contextlib.contextmanager
def agent(work: Path, upstream: int) -> Iterator[tuple[Running, Running]]:
    """Run an agent with both doors; yield it as each of them."""
    ports = free_port(), free_port()
    kubeconfig = work / "kubeconfig"
    cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{upstream}"}}
    context = {"name": "c", "context": {"cluster": "c"}}
    kubeconfig.write_text(json.dumps({"clusters": [cluster], "contexts": [context], "current-context": "c"}))
    url = f"http://127.0.0.1:{upstream}"
    env = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret", "PATH": os.environ["PATH"]}
    env |= {"AWS_ENDPOINT_URL_STS": url, "AWS_EC2_METADATA_DISABLED": "true"}
    command = [sys.executable, "-m", "rolecall.daemons.agent", "serve", "--cluster-name", "c", "--region", "us-west-2"]
    command += ["--endpoint", url, "-b", "127.0.0.1", "-p", str(ports[0]), "--imds-port", str(ports[1])]
    command += ["--dialect", "kube2iam", "--base-role-arn", "arn:aws:iam::123456789012:role/"]
    command += ["--kubeconfig", str(kubeconfig), "--imds-every-node"]
    command += ["--probe-port", "0", "--metrics-port", "0", "--verbosity", "warn"]
    with started("agent", command, ports[0], env=env) as running:
        yield running, replace(running, port=ports[1])


def ask(port: int, method: str, path: str, **headers: str) -> tuple[int, str]:
    """Ask something once."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def run(rounds: int = 5, seconds: float = 3.0) -> list[str]:
    """Measure, and return the rows of the table."""
    needed("wrk", "taskset")
    rows = [
        "| case | metadata door | Pod Identity's | ratio of rates | ratio of CPU (min to max) |",
        "|---|---|---|---|---|",
    ]
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        with (
            started("upstream", [sys.executable, "-m", "bench.upstream", str(port)], port, core=1),
            agent(work, port) as (identity, imds),
        ):
            herd = _herd(imds.port, port)
            files = work / "tokens", work / "sessions"
            files[0].write_text("\n".join(tokens(100)) + "\n")
            fill(identity.port, tokens(100))
            ttl = {"x_aws_ec2_metadata_token_ttl_seconds": "21600"}
            shown = [ask(imds.port, "PUT", "/latest/api/token", **ttl)[1] for _ in range(20)]
            files[1].write_text("\n".join(shown) + "\n")
            for doing in ((imds, files[1], IMDS), (identity, files[0], POD_IDENTITY)):
                _measured(*doing, max(_WARM, seconds))
            pairs = [
                (_measured(imds, files[1], IMDS, seconds), _measured(identity, files[0], POD_IDENTITY, seconds))
                for _ in range(rounds)
            ]
            rows.append(_row(pairs))
    return [*rows, "", herd]


def _herd(imds: int, upstream: int) -> str:
    """Have fifty ask at once for what nobody has asked for, of a slow STS."""
    ask(upstream, "PUT", "/mode/slow/0.3")
    with ThreadPoolExecutor(50) as pool:
        found = [status for status, _ in pool.map(lambda _: ask(imds, "GET", ROLE), range(50))]
    calls = ask(upstream, "GET", "/calls/sts")[1]
    ask(upstream, "PUT", "/mode/ok")
    return f"Herd of 50 at the metadata door, STS slow: {calls} call to STS, status {sorted(set(found))}."


def _measured(door: Running, tokens_of: Path, asked: tuple[str, str], seconds: float) -> tuple[Load, float]:
    before = door.cpu_seconds()
    load = wrk(door.port, tokens_of, seconds=seconds, asked=asked)
    assert load.errors == 0, f"{asked[0]}: {load.errors} errors"
    return load, (door.cpu_seconds() - before) / max(1, load.requests) * 1e6


def _row(pairs: list[tuple[tuple[Load, float], tuple[Load, float]]]) -> str:
    rates = [mine.rate / other.rate for (mine, _), (other, _) in pairs]
    costs = [mine / other for (_, mine), (_, other) in pairs]
    imds, identity = (
        f"{statistics.median(pair[at][0].rate for pair in pairs):,.0f}/s,"
        f" {statistics.median(pair[at][1] for pair in pairs):.1f} µs CPU"
        for at in (0, 1)
    )
    return (
        f"| warm credentials, keep-alive | {imds} | {identity} | {statistics.median(rates):.2f} "
        f"| {statistics.median(costs):.2f} ({min(costs):.2f} to {max(costs):.2f}) |"
    )
