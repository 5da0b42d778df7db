"""A file that others replace: its content whenever it is another one."""

from __future__ import annotations

from pathlib import Path

from rolecall.errors import Misconfigured


class WatchedFile:
    """Looks at a file when it is told to, and reads at most `longest` bytes of it.

    What a name stands for is looked at, not the name: a ConfigMap is mounted behind links, and swapped by turning
    one of them. A file that changes while it is read is another one at the next look.
    """

    def __init__(self, path: Path, *, longest: int = 1 << 20) -> None:
        self.path, self._longest = path, longest
        self._seen: tuple[int, int, int, int] | None = None
        self._looked = False

    def changed(self) -> bool:
        """Say whether the file is another one than at the last look; True at the first."""
        try:
            found = self.path.stat()
            # Its own change as well as its content's: a file that could not be read is another one once it may be.
            seen = (found.st_dev, found.st_ino, found.st_ctime_ns, found.st_size)
        except OSError:
            seen = None
        changed = not self._looked or seen != self._seen
        self._looked, self._seen = True, seen
        return changed

    def read(self) -> bytes | None:
        """Return the content, None where there is no such file; raises `Misconfigured` where it cannot be read."""
        try:
            with self.path.open("rb") as file:
                found = file.read(self._longest + 1)
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise Misconfigured(f"{self.path}: {fault.strerror}", hint="let this process read it") from None
        if len(found) > self._longest:
            raise Misconfigured(f"{self.path} is larger than {self._longest} bytes", hint="name another file")
        return found
