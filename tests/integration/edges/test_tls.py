"""A client's certificate and authorities, out of files that change, at a server that looks at them."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from integration.edges.authority import Authority
from integration.edges.loopback import Server, answer
from rolecall.edges.http_call import CallFailed
from rolecall.edges.http_client import HttpClient
from rolecall.edges.tls import ClientTls, TlsFiles
from rolecall.errors import Misconfigured


class World:
    """A server on localhost that asks for a certificate, and a client whose certificate is in files of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.authority = folder, Authority(folder)
        self.server, self.shown = Server(), list[str]()
        self.files = TlsFiles(ca=self.authority.file, certificate=folder / "tls.crt", key=folder / "tls.key")
        self.http = HttpClient(at_once=2, tls=ClientTls(self.files))

    async def call(self) -> bytes:
        """Call it; return the answer's body."""
        url = f"https://localhost:{self.server.port}/"
        return (await self.http.call("GET", url, connect_timeout=2.0, timeout=5.0, longest_body=100)).body

    async def page(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Note whose certificate it is, and serve until the client goes."""
        subject = writer.get_extra_info("peercert")["subject"]
        while True:
            self.shown.append(dict(pair for part in subject for pair in part)["commonName"])
            writer.write(answer(b"hello"))
            await reader.readuntil(b"\r\n\r\n")

    def rotate(self, name: str, *, halfway: bool = False) -> None:
        """Put a pair of another name into the files, as whoever renews it does: each file is replaced."""
        pair = self.authority.pair(name, client=True)
        for made, used in zip(pair, (self.folder / "tls.crt", self.folder / "tls.key"), strict=True):
            if not (halfway and used.suffix == ".key"):
                shutil.copy(made, used.with_suffix(".new"))
                used.with_suffix(".new").replace(used)


def play(folder: Path, scene: Callable[[World], Awaitable[None]]) -> None:
    """Run a scene."""

    async def run() -> None:
        world = World(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*world.authority.pair("localhost"))
        context.load_verify_locations(world.authority.file)
        context.verify_mode = ssl.CERT_REQUIRED
        world.server.pages["/"] = world.page
        await world.server.start(context)
        try:
            async with asyncio.timeout(20):
                await scene(world)
        finally:
            world.http.close()
            await world.server.stop()

    asyncio.run(run())


def test_a_rotated_certificate_is_the_next_one_shown(tmp_path: Path) -> None:
    """Also where a connection of the former one is still open; without a change, it is used again."""

    async def scene(world: World) -> None:
        world.rotate("first")
        for _ in range(2):
            assert await world.call() == b"hello"
        assert len(world.server.heads) == 1, "one connection"
        world.rotate("second")
        assert await world.call() == b"hello"
        assert world.shown == ["first", "first", "second"]

    play(tmp_path, scene)


def test_a_pair_of_which_half_is_there_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The former one is shown, one warning is written, and the whole pair is taken once it is there."""

    async def scene(world: World) -> None:
        world.rotate("first")
        await world.call()
        world.rotate("second", halfway=True)
        for _ in range(3):
            await world.call()
        (world.folder / "tls.key").rename(world.folder / "gone")
        await world.call()
        assert [record.message for record in caplog.records] == ["tls.files_not_usable"]
        assert "do not belong together" in caplog.records[0].fields["why"]  # type: ignore[attr-defined]
        world.rotate("third")
        await world.call()
        assert world.shown == ["first"] * 5 + ["third"]

    play(tmp_path, scene)


def test_a_server_that_is_shown_no_certificate_or_a_strangers(tmp_path: Path) -> None:
    """The handshake is what failed, and nothing is tried again at once."""

    async def scene(world: World) -> None:
        stranger = Authority(tmp_path, "stranger").pair("first", client=True)
        for files in (TlsFiles(world.files.ca), TlsFiles(world.files.ca, *stranger)):
            world.http.close()
            world.http = HttpClient(at_once=2, tls=ClientTls(files))
            with pytest.raises(CallFailed) as caught:
                await world.call()
            assert caught.value.cause in {"tls", "closed"}  # TLS 1.3 tells it after the handshake, in an alert
        assert world.shown == []

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("tls.crt", None, "the file {}/tls.crt cannot be read: No such file"),
        ("tls.crt", b"", "the certificate {}/tls.crt and the key {}/tls.key cannot be used"),
        ("tls.key", b"none", "the certificate {}/tls.crt and the key {}/tls.key cannot be used"),
        ("ca.pem", b"none", "the CA file {}/ca.pem cannot be used"),
        ("ca.pem", None, "the file {}/ca.pem cannot be read"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path: Path, name: str, content: bytes | None, told: str) -> None:
    """Where nothing worked before, there is nothing to go on with; once they are there, it works."""
    authority = Authority(tmp_path, "made")
    files = TlsFiles(tmp_path / "ca.pem", tmp_path / "tls.crt", tmp_path / "tls.key")
    for made, used in zip((authority.file, *authority.pair("a")), ("ca.pem", "tls.crt", "tls.key"), strict=True):
        shutil.copy(made, tmp_path / used)
    good = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    tls = ClientTls(files)
    with pytest.raises(Misconfigured) as refused:
        tls.context()
    assert told.replace("{}", str(tmp_path)) in refused.value.message
    (tmp_path / name).write_bytes(good)
    assert tls.context() is tls.context()


def test_a_key_with_a_passphrase_asks_nobody(tmp_path: Path) -> None:
    """OpenSSL would ask at the terminal, and wait."""
    certificate, key = Authority(tmp_path).pair("a")
    words = ["openssl", "pkcs8", "-topk8", "-in", str(key), "-passout", "pass:word", "-out", str(tmp_path / "locked")]
    subprocess.run(words, check=True, timeout=20)
    terminal = "import pty, sys; pty.spawn(sys.argv[1:])"
    program = (
        "import pathlib, sys; from rolecall.edges.tls import ClientTls, TlsFiles\n"
        "try: ClientTls(TlsFiles(None, *map(pathlib.Path, sys.argv[1:]))).context()\n"
        "except Exception as fault: print(fault.hint)"
    )
    run = [sys.executable, "-c", terminal, sys.executable, "-c", program, str(certificate), str(tmp_path / "locked")]
    said = subprocess.run(run, check=True, timeout=20, capture_output=True, stdin=subprocess.DEVNULL, text=True).stdout
    assert said.strip() == "both are in PEM form, the key without a passphrase"


def test_a_key_alone() -> None:
    """It would never be used."""
    with pytest.raises(Misconfigured, match="has no certificate"):
        TlsFiles(key=Path("tls.key"))
