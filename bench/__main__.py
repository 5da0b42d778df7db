"""``make bench``: measure what the design budgets, each against a reference in the same run.

    python -m bench [NAME ...] [--rounds N] [--seconds S] [--write]

Names: door (the agent's warm door against nginx), imds (the metadata door against Pod Identity's), cold (herds, node
starts, neighbours, memory, start), rules (policies, tokens, signatures), webhook (reviews against nginx, their pace,
memory, start). ``--write`` keeps the tables in bench/RESULTS.md.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench import agent_cold, agent_door, agent_metadata, rules, webhook

RESULTS = Path(__file__).with_name("RESULTS.md")
CAVEATS = (
    "Medians of interleaved rounds; compare ratios, not absolute figures. Server and load have a processor each "
    "(`taskset`), where there are two. The load generator needs a core of its own above about 90,000 requests a "
    "second, and then bounds both sides."
)


def main() -> None:
    """Run the benchmarks that were named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="door, imds, cold, rules, webhook (all)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of each case (5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round (3)")
    parser.add_argument("--write", action="store_true", help="keep the tables in bench/RESULTS.md")
    flags = parser.parse_args()
    known = {
        "door": lambda: agent_door.run(flags.rounds, flags.seconds),
        "imds": lambda: agent_metadata.run(flags.rounds, flags.seconds),
        "cold": lambda: agent_cold.run(flags.rounds),
        "rules": lambda: rules.run(flags.rounds),
        "webhook": lambda: webhook.run(flags.rounds, flags.seconds),
    }
    unknown = sorted(set(flags.names) - set(known))
    if unknown:
        sys.exit(f"bench: there is no {', '.join(unknown)}; choose of {', '.join(known)}")
    tables = []
    for name in flags.names or known:
        print(f"bench: {name} …", file=sys.stderr, flush=True)
        tables += [f"## {name}", "", *known[name](), ""]
    text = "\n".join(tables)
    print(text)
    if flags.write:
        RESULTS.write_text(f"# Results\n\n{_machine()}\n\n{CAVEATS}\n\n{text}")


def _machine() -> str:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    nginx = subprocess.run(["/usr/sbin/nginx", "-v"], capture_output=True, text=True, check=False).stderr.strip()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {cpu}, Linux {platform.release()}, Python {platform.python_version()}, "
        f"{nginx.rpartition(' ')[2] or 'no nginx'}."
    )


if __name__ == "__main__":
    main()
