"""What a process gives back: memory that it has freed, and the pages of programs that it does not need again.

Python's and OpenSSL's code is read from files, and each page that was touched once, by starting or by a burst of calls,
counts as the process's own from then on. What is given back stays in the page cache while there is room, and what is
needed again is mapped from there, 64 KB at a time, without reading a disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from rolecall.edges.clock import Clock
from rolecall.edges.telemetry import Log

EVERY = 60.0
"""Seconds. It takes 3 ms, and what is in use is back within less."""

_MAPS = Path("/proc/self/smaps")
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-.p [0-9a-f]+ [0-9a-f]+:[0-9a-f]+ [1-9][0-9]* ")
"""Of a file, private, not to be written. Where nothing of it is anonymous, it holds the file's bytes and no others."""
_DONT_NEED = 4  # MADV_DONTNEED: such a mapping loses nothing by it


async def keep_giving_back(clock: Clock, log: Log) -> None:
    """Do so now, and every minute."""
    while True:
        log.debug("memory.pages_given_back", bytes=give_back_pages())
        await clock.sleep(EVERY)


def give_back_pages(maps: Path = _MAPS) -> int:
    """Return to the kernel what is free of the heap, and the pages of files that were only read.

    Return how many bytes the latter were, 0 where none of it can be.
    """
    try:
        import ctypes  # here: a process that never gives back need not hold it

        with maps.open() as lines:
            found = list(only_read(lines))
        libc = ctypes.CDLL(None)
        advise = libc.madvise
    except (ImportError, OSError, AttributeError):  # not Linux, /proc is hidden, or a Python without it
        return 0
    if hasattr(libc, "malloc_trim"):  # glibc; others do so by themselves, or cannot
        libc.malloc_trim(0)
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return sum(size for start, length, size in found if advise(start, length, _DONT_NEED) == 0)


def only_read(lines: Iterable[str]) -> Iterator[tuple[int, int, int]]:
    """Yield address, length and resident bytes of each mapping that holds a file's bytes and no others (proc(5))."""
    mapping, resident = None, 0
    for line in lines:
        name, _, rest = line.partition(":")
        if "-" in name:
            mapping, resident = _MAPPING.match(line), 0
        elif name == "Rss":
            resident = int(rest.split()[0]) * 1024
        elif name == "Anonymous" and mapping is not None and resident and rest.split()[0] == "0":
            start, end = int(mapping[1], 16), int(mapping[2], 16)
            yield start, end - start, resident
