"""A listener's certificate out of files that somebody else renews, such as cert-manager or a kubelet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rolecall.core.secrets import Secret
from rolecall.edges.clock import Clock
from rolecall.edges.server_tls import ServerTls
from rolecall.edges.telemetry import Log
from rolecall.edges.watched_file import WatchedFile
from rolecall.errors import Misconfigured, RolecallError

if TYPE_CHECKING:
    from rolecall.edges.certificates import Validity

EVERY = 1.0
"""Seconds between two looks at the files."""


class CertificateFiles:
    """Shows what the files hold, and what they hold later; files that do not fit together change nothing.

    With `client_ca` its authorities are believed of clients, as they are then. `read` says when a certificate ends
    (`rolecall.edges.certificates`, which is large); without it `ends` stays 0, and one that has ended is shown. `ends`
    is in seconds since the epoch; `fault` is what is wrong with the files.
    """

    def __init__(
        self, certificate: Path, key: Path, client_ca: Path | None, tls: ServerTls, *, clock: Clock, log: Log,
        read: Callable[[str], Validity] | None = None,
    ) -> None:  # fmt: skip
        self._read = read
        self._tls, self._clock, self._log = tls, clock, log
        self._files = [WatchedFile(path) for path in (certificate, key, client_ca) if path is not None]
        self.ends = 0.0
        self.fault = ""

    def start(self) -> None:
        """Show the certificate; raises `Misconfigured`, naming the file, where there is none to show."""
        self._changed()
        self._show()

    async def run(self) -> None:
        """Look at the files, for ever."""
        while True:
            await self._clock.sleep(EVERY)
            self.look()

    def look(self, *, again: bool = False) -> None:
        """Show what is in the files where they have changed, or in any case."""
        if not self._changed() and not again:
            return
        try:
            self._show()
        except RolecallError as fault:
            self.fault = fault.message
            self._log.warning("certificate.not_usable", why=fault.message, hint=fault.hint)

    def _changed(self) -> bool:
        found = [file.changed() for file in self._files]  # each is looked at
        return any(found)

    def _show(self) -> None:
        texts = [_text(file) for file in self._files]
        found = None if self._read is None else self._read(texts[0])
        if found is not None and found.ends <= self._clock.now():
            raise Misconfigured(f"the certificate in {self._files[0].path} has ended", hint="renew it")
        self._tls.show(texts[0], Secret(texts[1]), *texts[2:])
        self.ends, self.fault = (0.0 if found is None else found.ends), ""
        fields = {} if found is None else {"ends": round(found.ends), "names": sorted(found.names)[:10]}
        self._log.info("certificate.shown", file=self._files[0].path, **fields)


def read_pem(path: Path | None) -> str | None:
    """Return what a file of certificates holds; None where none is named. Raises `Misconfigured`."""
    return None if path is None else _text(WatchedFile(path))


def _text(file: WatchedFile) -> str:
    found = file.read()
    if found is None:
        raise Misconfigured(f"{file.path}: there is no such file", hint="name a certificate, key or authority in PEM")
    return found.decode("utf-8", "replace")
