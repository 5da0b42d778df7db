"""The server's certificate, read again when its files change: kiam's are renewed behind the links of a Secret."""

from __future__ import annotations

from pathlib import Path

from rolecall.core.secrets import Secret
from rolecall.edges.clock import Clock
from rolecall.edges.server_tls import ServerTls
from rolecall.edges.telemetry import Log
from rolecall.edges.watched_file import WatchedFile
from rolecall.errors import Misconfigured, RolecallError

EVERY = 1.0
"""Seconds between two looks."""


class CertificateFiles:
    """Shows what files hold; those that do not fit together change nothing. `paths`: certificate, key, authority."""

    def __init__(self, paths: tuple[Path, Path, Path], tls: ServerTls, clock: Clock, log: Log) -> None:
        self._files = [WatchedFile(path) for path in paths]
        self._tls, self._clock, self._log = tls, clock, log

    def start(self) -> None:
        """Show them; raises `Misconfigured`."""
        for file in self._files:
            file.changed()
        self._show()

    async def run(self) -> None:
        """Look at them, for ever."""
        while True:
            await self._clock.sleep(EVERY)
            changed = [file.changed() for file in self._files]
            if any(changed):
                try:
                    self._show()
                except RolecallError as fault:
                    self._log.warning("kiam.certificate_not_usable", why=fault.message, hint=fault.hint)

    def _show(self) -> None:
        certificate, key, authority = (self._text(file) for file in self._files)
        self._tls.show(certificate, Secret(key), authority)
        self._log.info("kiam.certificate_shown", file=self._files[0].path)

    @staticmethod
    def _text(file: WatchedFile) -> str:
        found = file.read()
        if found is None:
            raise Misconfigured(f"{file.path}: there is no such file", hint="--cert, --key and --ca name it")
        return found.decode("utf-8", "replace")
