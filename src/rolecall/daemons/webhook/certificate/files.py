"""A certificate out of files that somebody else renews, such as cert-manager."""

from __future__ import annotations

from pathlib import Path

from rolecall.core.secrets import Secret
from rolecall.daemons.webhook.config import TlsSettings
from rolecall.edges.certificates import read_certificate
from rolecall.edges.clock import Clock
from rolecall.edges.server_tls import ServerTls
from rolecall.edges.telemetry import Log
from rolecall.edges.watched_file import WatchedFile
from rolecall.errors import Misconfigured, RolecallError

EVERY = 1.0
"""Seconds between two looks at the files."""


class CertificateFiles:
    """Shows what the files hold, and what they hold later; files that do not fit together change nothing.

    `ends` is when the certificate that is shown ends, in seconds since the epoch; `fault` what is wrong with the files.
    """

    def __init__(self, settings: TlsSettings, tls: ServerTls, *, clock: Clock, log: Log) -> None:
        assert settings.files is not None
        self._tls, self._clock, self._log = tls, clock, log
        paths = [*settings.files, *([settings.client_ca] if settings.client_ca is not None else [])]
        self._files = [WatchedFile(path) for path in paths]
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
        found = read_certificate(texts[0])
        if found.ends <= self._clock.now():
            raise Misconfigured(f"the certificate in {self._files[0].path} has ended", hint="renew it")
        self._tls.show(texts[0], Secret(texts[1]), *texts[2:])
        self.ends, self.fault = found.ends, ""
        self._log.info("certificate.shown", ends=round(found.ends), names=sorted(found.names)[:10])


def _text(file: WatchedFile) -> str:
    found = file.read()
    if found is None:
        raise Misconfigured(f"{file.path}: there is no such file", hint="--tls-cert, --tls-key and --client-ca name it")
    return found.decode("utf-8", "replace")


def read_pem(path: Path | None) -> str | None:
    """Return what a file of certificates holds; None where there is none to read. Raises `Misconfigured`."""
    return None if path is None else _text(WatchedFile(path))
