"""Become another program that the kernel kills when the one that started it is gone, however that ended.

    python die_with_parent.py PARENT-PID PROGRAM ARGUMENT…

A test run that is killed with SIGKILL leaves no etcd and no compiler behind. Linux only.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    """Ask the kernel, make sure that it was not too late, and become the program."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        sys.exit(f"die_with_parent: prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(sys.argv[1]):
        sys.exit("die_with_parent: the parent is gone")
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    except OSError as fault:
        sys.exit(f"die_with_parent: {sys.argv[2]}: {fault.strerror}")


if __name__ == "__main__":
    main()
