"""Run it: ``python -m soak --minutes 10``. Ends with 1 where something grew, or a pod that should be served was not."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from soak.run import soak


def main() -> int:
    """Run for that many minutes and print what was seen."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default 10)")
    minutes: float = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as home:
        faults = soak(Path(home), seconds=60 * minutes, every=15.0, say=lambda line: print(line, flush=True))
    print("\n".join(faults) or "flat")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
