"""A socket for this machine's operator: who can open it, what may be in its place, and who is believed."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rolecall.edges.admin_socket import AdminSocket, ask_admin
from rolecall.errors import Misconfigured


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path that is short enough, in a directory of our own."""
    return tmp_path_factory.mktemp("admin") / "s"


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """Answer one caller with these bytes."""
    admin = AdminSocket(path)
    admin.listener.setblocking(True)

    def serve() -> None:
        connection, _ = admin.listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    thread.join()
    admin.remove()
    admin.listener.close()


def test_only_its_owner_can_open_it(place: Path) -> None:
    """From the first moment: the mode is there before anybody can connect; and it is removed at the end."""
    before = os.umask(0)
    try:
        admin = AdminSocket(place)
    finally:
        assert os.umask(before) == 0, "the process's own umask is as it was"
    assert stat.S_ISSOCK(place.lstat().st_mode)
    assert stat.S_IMODE(place.lstat().st_mode) == 0o600
    admin.remove()
    assert not place.exists()
    admin.remove()
    admin.listener.close()


def test_what_a_killed_process_left_is_replaced(place: Path) -> None:
    """A restart works; the process that ends late does not take the new one's socket with it."""
    first = AdminSocket(place)
    first.listener.close()
    second = AdminSocket(place)
    first.remove()
    assert place.exists()
    second.remove()
    second.listener.close()


def test_a_socket_that_is_used_is_left_alone(place: Path) -> None:
    """Two agents do not fight over it."""
    first = AdminSocket(place)
    with pytest.raises(Misconfigured, match="another process listens"):
        AdminSocket(place)
    assert place.exists()
    first.remove()
    first.listener.close()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_alone(place: Path, kind: str) -> None:
    """A wrong path deletes nobody's file, and follows no link."""
    match kind:
        case "file":
            place.write_text("precious")
        case "directory":
            place.mkdir()
        case "link":
            place.symlink_to("/nowhere")
    with pytest.raises(Misconfigured, match="is no socket"):
        AdminSocket(place)
    assert os.path.lexists(place)


def test_a_directory_that_others_write_to_is_refused(place: Path) -> None:
    """They could put a socket of theirs there; /tmp, where only owners may rename, is not such a one."""
    place.parent.chmod(0o777)
    with pytest.raises(Misconfigured, match="others may write"):
        AdminSocket(place)
    place.parent.chmod(0o1777)
    admin = AdminSocket(place)
    admin.remove()
    admin.listener.close()


def test_a_place_that_cannot_be(place: Path) -> None:
    """With the reason, and the flag to change."""
    for path, why in ((place.parent / ("x" * 108), "107 bytes"), (place.parent / "none" / "s", "No such file")):
        with pytest.raises(Misconfigured, match=why) as fault:
            AdminSocket(path)
        assert "--admin-socket" in fault.value.hint


def test_it_is_asked(place: Path) -> None:
    """Over HTTP, whatever the length of the answer."""
    body = b"x" * 300_000
    with answering(place, b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n" + body):
        assert ask_admin(place, "/status", timeout=10.0) == body


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "status 404"),
        (b"hello\n", "BadStatusLine"),
        (b"", "RemoteDisconnected|nobody answers"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", "IncompleteRead"),
    ],
)
def test_an_answer_that_is_none(place: Path, answer: bytes, why: str) -> None:
    """Is a clear error, whatever listens there."""
    with answering(place, answer), pytest.raises(Misconfigured, match=why):
        ask_admin(place, "/status", timeout=10.0)


def test_nobody_there(place: Path) -> None:
    """No socket, one without a process, and something else."""
    with pytest.raises(Misconfigured, match="No such file"):
        ask_admin(place, "/status", timeout=1.0)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place))
    with pytest.raises(Misconfigured, match="refused"):
        ask_admin(place, "/status", timeout=1.0)
    place.unlink()
    place.write_text("")
    with pytest.raises(Misconfigured, match="is no socket"):
        ask_admin(place, "/status", timeout=1.0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a socket away")
def test_a_socket_of_somebody_else_is_not_believed(place: Path) -> None:
    """Nor replaced: whoever owns it could say anything of this node."""
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(place))
        theirs.listen()
        os.chown(place, 12345, 12345)
        with pytest.raises(Misconfigured, match="another user"):
            ask_admin(place, "/status", timeout=1.0)
        with pytest.raises(Misconfigured, match="no socket of this user"):
            AdminSocket(place)
