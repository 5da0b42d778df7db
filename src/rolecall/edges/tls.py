"""TLS as a client: which authorities are believed, and the certificate shown, out of files that others replace."""

from __future__ import annotations

import os
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

from rolecall.edges.telemetry import Log
from rolecall.errors import Misconfigured

_PEM = "it holds certificates in PEM form"

_Stamp = tuple[tuple[int, int, int], ...]  # of each file: time, size, inode


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. Without `ca` the machine's authorities are believed; without `key` it stands beside the certificate.

    Raises `Misconfigured` for a key without a certificate.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise Misconfigured(f"the key {self.key} has no certificate", hint="name the certificate's file too")


class ClientTls:
    """Makes the context of outgoing connections when it is first needed: until then no certificate costs memory.

    It is made again when a file has changed. Where that does not work (a certificate is there and its key is still
    to come), the former context is kept, with one warning, and the next change is tried. It may be called from any
    thread. TLS 1.2 is the oldest that is spoken.
    """

    def __init__(self, files: TlsFiles | None = None, *, log: Log | None = None) -> None:
        self.files = files or TlsFiles()
        self._log = log or Log()
        self._lock = threading.Lock()
        self._made: ssl.SSLContext | None = None
        self._seen: _Stamp | None = None  # when the last attempt began, whatever became of it
        self._failing = False

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection; raises `Misconfigured`, naming the file, where there is none."""
        with self._lock:
            try:
                return self._current()
            except Misconfigured as fault:
                if self._made is None:
                    raise
                if not self._failing:
                    self._log.warning("tls.files_not_usable", why=fault.message, hint=fault.hint)
                self._failing = True
                return self._made

    def _current(self) -> ssl.SSLContext:
        stamp = tuple(_stamp(path) for path in self._paths())
        if self._made is None or stamp != self._seen:
            self._seen = stamp  # from before the files are read: what changes meanwhile is seen the next time
            self._made = self._make()
            self._failing = False
        return self._made

    def _paths(self) -> list[Path]:
        return [path for path in (self.files.ca, self.files.certificate, self.files.key) if path is not None]

    def _make(self) -> ssl.SSLContext:
        ca, certificate, key = self.files.ca, self.files.certificate, self.files.key
        try:
            context = ssl.create_default_context(cafile=ca)
        except OSError:  # ssl.SSLError is one
            raise Misconfigured(f"the CA file {ca} cannot be used", hint=_PEM) from None
        context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
        if certificate is not None:
            try:
                context.load_cert_chain(certificate, key, password="")  # without one OpenSSL asks at the terminal
            except OSError as error:
                unlike = isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH"
                raise Misconfigured(
                    f"the certificate {certificate} and the key {key or 'in it'} "
                    + ("do not belong together" if unlike else "cannot be used"),
                    hint="both are in PEM form, the key without a passphrase",
                ) from None
        return context


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
    except OSError as error:
        raise Misconfigured(
            f"the file {path} cannot be read: {error.strerror or 'unknown error'}", hint="let this user read it"
        ) from None
    return found.st_mtime_ns, found.st_size, found.st_ino
