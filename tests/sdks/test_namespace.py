"""What a run that was killed left behind does not stay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sdks.namespace import FILES, PREFIX, remove_leftovers, skip_without_namespaces

KILLED = """
import os, signal, subprocess
from sdks.namespace import new_namespace
with new_namespace() as made:
    subprocess.Popen(made.inside("sleep", "600"), stdout=-3, stderr=-3)
    print(made.name, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_leaves_nothing_for_long() -> None:
    """Its namespace, the programs inside and their files go when the next run starts; a living run's stay."""
    skip_without_namespaces()
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KILLED], env=env, capture_output=True, text=True, check=False)
    name, own = done.stdout.strip(), f"{PREFIX}{os.getppid()}"
    assert name.startswith(PREFIX), done.stderr
    pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=True).stdout.split()
    assert pids
    subprocess.run(["ip", "netns", "add", own], check=True)
    try:
        remove_leftovers()
        left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.split()
    finally:
        subprocess.run(["ip", "netns", "del", own], check=True)
    assert (name in left, own in left) == (False, True)
    assert not (FILES / name).exists()
    for state in (Path(f"/proc/{pid}/stat") for pid in pids):
        assert not state.exists() or " Z " in state.read_text()  # killed; nobody may have waited for it yet
