"""File descriptors: as many as there may be, and a word in the log when they run out.

Where none is left, the event loop ends new connections without a word to anybody.
"""

from __future__ import annotations

import resource
import socket

from rolecall.edges.telemetry import Log

_SPARE = 8  # so few left is as good as none: files and calls upstream need some


def raise_limit(wanted: int) -> int:
    """Have this process allowed `wanted` descriptors, or as many as it may take; return how many it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft >= wanted:
        return soft
    new = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (new, hard))
    return new


class DescriptorWatch:
    """Told of every new connection; warns once when the descriptors are used up, and again after a relief."""

    def __init__(self, log: Log) -> None:
        self._log, self._said = log, False

    def took(self, connection: socket.socket) -> None:
        """Look at a connection's number: the kernel gives the lowest that is free."""
        limit, number = resource.getrlimit(resource.RLIMIT_NOFILE)[0], connection.fileno()
        if limit == resource.RLIM_INFINITY:
            return
        if number >= limit - _SPARE and not self._said:
            self._said = True
            hint = "raise LimitNOFILE or the container's ulimit; the hard limit is taken whole"
            self._log.warning("http.descriptors_used_up", limit=limit, hint=hint)
        elif number < limit - 2 * _SPARE:
            self._said = False
