"""Where etcd, kube-apiserver and kubectl come from: a directory that is named, the cache, or Go's own compiler.

Built are the modules that ``go/go.sum`` pins, once, into the user's cache: minutes, then never again until they change.
Nothing else is touched: Go's caches lie beside what is built, and are removed with the rest when it is done.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("go")
DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")
KUBERNETES = "v1.34.4"
NEEDED = ("etcd", "kube-apiserver")
BUILT = (*NEEDED, "kubectl")
NAMED_BY = ("ROLECALL_CLUSTER_ASSETS", "KUBEBUILDER_ASSETS")
# What compiles when the Go that is here is too old to fetch a newer one itself, as Debian 12's is.
TOOLCHAIN = "golang.org/toolchain@v0.0.1-go1.25.5.linux-amd64"
FETCHES_TOOLCHAINS = (1, 21)
NO_GO = (
    "no Go toolchain to build etcd and kube-apiserver with: install Go (Debian: apt-get install golang-go), or name a "
    f"directory that holds both by ${NAMED_BY[0]}"
)
Say = Callable[[str], None]


class Missing(Exception):
    """There are no binaries, and why; `wrong` is true where somebody named a directory that does not hold them."""

    def __init__(self, reason: str, *, wrong: bool = False) -> None:
        super().__init__(reason)
        self.wrong = wrong


def find(environment: Mapping[str, str], say: Say) -> Path:
    """Return a directory with etcd and kube-apiserver in it; raises `Missing`. `say` is told of what takes long."""
    for name in NAMED_BY:
        if environment.get(name):
            return _named(name, Path(environment[name]))
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rolecall"
    target = cache / f"control-plane-{KUBERNETES}-{digest()}"
    if not target.exists():
        _build(target, say)
    return target


def digest() -> str:
    """Return what tells one set of sources from another. A newer Go makes no difference worth minutes."""
    parts = [(SOURCE / name).read_bytes() for name in ("go.mod", "go.sum", "main.go")]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def dying_with_us(command: list[str]) -> list[str]:
    """Return a command that ends when the thread that starts it ends."""
    return [sys.executable, "-ISs", str(DIE_WITH_PARENT), str(os.getpid()), *command]


def _named(name: str, directory: Path) -> Path:
    lacking = [component for component in NEEDED if not os.access(directory / component, os.X_OK)]
    if lacking:
        raise Missing(f"${name} is {directory}, which holds no program {' and no '.join(lacking)}", wrong=True)
    return directory.resolve()


def _build(target: Path, say: Say) -> None:
    """Build in a directory beside the target and rename it. Two runs that meet wait for one another."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "building.lock").open("w") as lock, _held(lock, say):
        if target.exists():
            return
        work = target.parent / "building"
        _remove(work)  # of one that was killed
        work.mkdir()
        try:
            go = _Go.found(work, say)
            _compile(go, work, say)
            (work / "made").rename(target)
        finally:
            _remove(work)


@contextlib.contextmanager
def _held(lock: object, say: Say) -> Iterator[None]:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another run is building the control plane; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)


@dataclass(frozen=True)
class _Go:
    """A Go command, its own caches, and how it is run."""

    command: str
    environment: Mapping[str, str]

    @classmethod
    def found(cls, work: Path, say: Say) -> _Go:
        """Return a Go that is new enough, or that fetches a newer one; raises `Missing`."""
        command = shutil.which("go", path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/go/bin:/usr/lib/go/bin")
        if command is None:
            raise Missing(NO_GO)
        ours = {"GOMODCACHE": str(work / "mod"), "GOCACHE": str(work / "cache"), "GOTMPDIR": str(work)}
        # Module caches are read-only by default, so that only root could remove ours.
        ours |= {"GOFLAGS": "-mod=readonly -modcacherw -trimpath -buildvcs=false", "CGO_ENABLED": "0", "GOWORK": "off"}
        go = cls(command, dict(os.environ) | ours)
        version = re.search(r"go(\d+)\.(\d+)", go.run(["version"], work))
        if version is not None and (int(version[1]), int(version[2])) < FETCHES_TOOLCHAINS:
            say(f"{version[0]} is too old; fetching a newer one, {TOOLCHAIN}")
            return go._newer(work)
        return go

    def _newer(self, work: Path) -> _Go:
        """Return the toolchain that Go's proxy serves as a module; its sum is checked as every module's is."""
        alone = work / "alone"
        alone.mkdir()
        self.run(["mod", "download", TOOLCHAIN], alone)
        root = work / "mod" / TOOLCHAIN
        for program in [*root.glob("bin/*"), *root.glob("pkg/tool/*/*")]:
            program.chmod(0o755)
        return _Go(str(root / "bin" / "go"), dict(self.environment) | {"GOTOOLCHAIN": "local", "GOROOT": str(root)})

    def start(self, words: list[str], where: Path) -> subprocess.Popen[str]:
        """Start it; what it says and complains of comes out of one pipe."""
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        command = dying_with_us([self.command, *words])
        return subprocess.Popen(command, cwd=where, env=self.environment, stdin=subprocess.DEVNULL, **both)

    def run(self, words: list[str], where: Path) -> str:
        """Return what it says; raises `Missing` with the end of that where it fails."""
        with self.start(words, where) as process:
            said, _ = process.communicate()
        if process.returncode:
            raise Missing(f"go {words[0]} failed:\n{said[-2000:]}")
        return said


def _compile(go: _Go, work: Path, say: Say) -> None:
    """Make the directory ``made``: one program, and a link for each of its names."""
    source, made = work / "source", work / "made"
    shutil.copytree(SOURCE, source)
    made.mkdir()
    say(f"building etcd and kube-apiserver {KUBERNETES} once, for minutes; fetching their modules")
    packages = len(go.run(["list", "-deps", "."], source).split())
    flags = ["-gcflags=all=-dwarf=false", "-ldflags", f"-s -w {_version()}", "-o", str(made / "kubernetes")]
    _watch(go.start(["build", "-v", *flags, "."], source), packages, say)
    for component in BUILT:
        (made / component).symlink_to("kubernetes")


def _watch(build: subprocess.Popen[str], packages: int, say: Say) -> None:
    """Follow a build, which names each package that it begins."""
    begun, said, complaints = 0, time.monotonic(), []
    assert build.stdout is not None
    with build:
        for line in build.stdout:
            complaints = [*complaints[-30:], line]
            begun += 1
            if time.monotonic() - said >= 15:
                said = time.monotonic()
                say(f"building: {begun} of about {packages} packages")
    if build.returncode:
        raise Missing(f"go build failed:\n{''.join(complaints)}")


def _version() -> str:
    """Return the linker's settings by which a component knows its version, as Kubernetes' own build gives them."""
    package = "k8s.io/component-base/version"
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    known = {"gitVersion": KUBERNETES, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    known |= {"gitCommit": "0" * 40, "buildDate": "2026-01-01T00:00:00Z"}
    return " ".join(f"-X {package}.{name}={value}" for name, value in known.items())
