"""The state directory of ``rolecall dev``: private, owned by one process, found by the other commands.

::

    STATE/                0700
    ├── lock              held (flock) by the running plane; holds its pid
    ├── plane.json        where the running plane, its agent and its metadata service listen; removed at a clean stop
    ├── plane.sqlite      all state
    ├── env               what to `source` in a shell (0600)
    ├── credentials       admin profile, AWS shared-credentials format (0600)
    ├── config            AWS config format
    ├── node-credentials  the agent's key (0600)
    ├── clusters.json     issuer → cluster name, for the agent
    └── run/<id>/         token files of one `rolecall run` (0700)
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from rolecall.errors import Misconfigured, StateTaken


class Running(msgspec.Struct, frozen=True):
    """Where a running plane is found. URLs have no trailing slash; `imds_url` is the metadata service's."""

    pid: int
    url: str
    agent_url: str
    imds_url: str
    region: str
    account: str
    version: str


class StateDir:
    """Paths below one state directory, and the ways to write there safely."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def database(self) -> Path:
        """The SQLite file that holds everything."""
        return self.root / "plane.sqlite"

    @property
    def credentials(self) -> Path:
        """The admin key, in the AWS shared-credentials format, profile ``rolecall``."""
        return self.root / "credentials"

    @property
    def aws_config(self) -> Path:
        """The AWS config file that goes with `credentials`."""
        return self.root / "config"

    @property
    def node_credentials(self) -> Path:
        """The agent's key, in the AWS shared-credentials format, profile ``default``."""
        return self.root / "node-credentials"

    @property
    def env(self) -> Path:
        """The file to source in a shell."""
        return self.root / "env"

    @property
    def clusters(self) -> Path:
        """Issuer → cluster name, read by the agent."""
        return self.root / "clusters.json"

    @property
    def runs(self) -> Path:
        """Parent of the directories that hold the token files of one run each."""
        return self.root / "run"

    def prepare(self) -> None:
        """Create the directory (0700), or take one that is ours: it is made private where that harms nobody.

        Raises `Misconfigured` for one that is another user's, that another user's symbolic link leads to, or
        that others may use and that holds something else already: a home or ``/tmp`` must not be shut.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            link, facts = self.root.lstat(), self.root.stat()
            for owner in (link.st_uid, facts.st_uid):
                if owner != os.getuid():
                    raise self._unusable(f"belongs to user {owner}, not to you")
            if stat.S_IMODE(facts.st_mode) & 0o077:
                if any(self.root.iterdir()) and not (self.root / "lock").is_file():
                    raise self._unusable("is open to others, and holds files that are not Rolecall's")
                self.root.chmod(0o700)
            self.runs.mkdir(exist_ok=True, mode=0o700)
        except OSError as fault:
            raise self._unusable(f"cannot be used: {fault.strerror}") from None

    def _unusable(self, why: str) -> Misconfigured:
        return Misconfigured(f"the state directory {self.root} {why}", hint="choose another with --state-dir")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Own the directory while the context lasts; raises `StateTaken` naming the owner's pid."""
        try:
            handle = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as fault:
            raise self._unusable(f"cannot be locked: {fault.strerror}") from None
        try:
            if not _lock(handle):
                pid = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
                raise StateTaken(
                    f"state directory {self.root} is in use by another rolecall dev (pid {pid})",
                    hint=f"stop it (kill {pid}), or choose another --state-dir",
                )
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(handle)

    def is_held(self) -> bool:
        """Say whether a running plane owns the directory right now."""
        try:
            handle = os.open(self.root / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def announce(self, running: Running) -> None:
        """Write where the plane listens, for the other commands."""
        write_private(self.root / "plane.json", msgspec.json.encode(running))

    def withdraw(self) -> None:
        """Remove what `announce` wrote."""
        (self.root / "plane.json").unlink(missing_ok=True)

    def running(self) -> Running | None:
        """Return where the running plane is, or None where none owns the directory."""
        if not self.is_held():
            return None
        try:
            return msgspec.json.decode((self.root / "plane.json").read_bytes(), type=Running)
        except (FileNotFoundError, msgspec.DecodeError):
            return None  # it is starting, and has not said yet


def _lock(handle: int) -> bool:
    """Take the lock for ourselves alone; return False where another process has it so.

    `StateDir.is_held` holds it shared for a moment, which is not a reason to give up.
    """
    for _ in range(1000):
        for operation in (fcntl.LOCK_EX, fcntl.LOCK_SH):
            try:
                fcntl.flock(handle, operation | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if operation == fcntl.LOCK_EX:
                return True
            break
        else:
            return False
    return False


def write_private(path: Path, content: bytes) -> None:
    """Replace a file in one step, readable by its owner only. A reader sees the old or the new, never half."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def choose_state_dir(flag: str | None, environment: Mapping[str, str]) -> Path:
    """Return ``--state-dir``, else ``$ROLECALL_STATE_DIR``, else ``rolecall`` below the XDG state home.

    Raises `Misconfigured` where none of them, nor HOME, says where.
    """
    if flag:
        return Path(flag).absolute()
    named = environment.get("ROLECALL_STATE_DIR")
    if named:
        return Path(named).absolute()
    state_home = environment.get("XDG_STATE_HOME", "")
    if Path(state_home).is_absolute():
        return Path(state_home) / "rolecall"
    home = environment.get("HOME", "")
    if not Path(home).is_absolute():
        raise Misconfigured("there is no HOME to keep the state directory in", hint="name one with --state-dir")
    return Path(home) / ".local" / "state" / "rolecall"
