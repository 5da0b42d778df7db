"""TLS of a listener whose certificate may change while it serves: connections that are open notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rolecall.core.secrets import Secret
from rolecall.edges.handshakes import UNFINISHED, Handshakes
from rolecall.errors import Misconfigured

VERSIONS: Mapping[str, ssl.TLSVersion] = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class ServerTls:
    """A context for `HttpServer.listen`, and the certificate that it shows to whoever connects from now on.

    With `client_ca` (PEM) only clients with a certificate of those authorities get through the handshake; with
    `client_names` its common name must be one of them as well. Sessions are not resumed: a resumed one would
    escape a new certificate, and a new authority. `unfinished` counts handshakes that came to nothing, by why.
    """

    def __init__(
        self,
        *,
        minimum: str = "1.2",
        ciphers: Sequence[str] = (),
        client_ca: str | None = None,
        client_names: frozenset[str] = frozenset(),
    ) -> None:
        self._minimum, self._ciphers = VERSIONS[minimum], tuple(ciphers)
        self._client_ca, self._client_names = client_ca, client_names
        self.unfinished = dict.fromkeys(UNFINISHED, 0)
        self._shown: ssl.SSLContext | None = None
        self.context = self._new(client_ca)
        self.context.sni_callback = self._hand_over

    @property
    def ready(self) -> bool:
        """Whether there is a certificate to show."""
        return self._shown is not None

    def show(self, certificate: str, key: Secret, client_ca: str | None = None) -> None:
        """Show this chain (PEM), and believe this authority of clients where one is given.

        Raises `Misconfigured` where the two do not work together; then everything stays as it was.
        """
        context = self._new(client_ca or self._client_ca)
        _load(context, certificate, key)
        if self._shown is None:  # a handshake needs a certificate before it can be handed over
            _load(self.context, certificate, key)
        self._client_ca = client_ca or self._client_ca
        self._shown = context

    def admits(self, subject: Mapping[str, Any] | None) -> bool:
        """Say whether the owner of a verified certificate may ask; `subject` is what `getpeercert` returned."""
        if not self._client_names:
            return True
        parts = (subject or {}).get("subject", ())
        return any(name == "commonName" and value in self._client_names for part in parts for name, value in part)

    async def create_server(self, factory: Callable[[], asyncio.Protocol], *, sock: socket.socket) -> Handshakes:
        """Serve on a bound socket; handshakes are waited for, but not for long, and not for all of them."""
        return Handshakes(sock, self.context, factory, unfinished=self.unfinished)

    def _hand_over(self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: object) -> None:
        if self._shown is not None:
            connection.context = self._shown

    def _new(self, client_ca: str | None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self._minimum
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        if self._ciphers:
            try:
                context.set_ciphers(":".join(self._ciphers))
            except ssl.SSLError:
                raise Misconfigured("none of the cipher suites can be used", hint="leave them out") from None
        if client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                context.load_verify_locations(cadata=client_ca)
            except (ssl.SSLError, ValueError):
                raise Misconfigured(
                    "the authority of clients is no certificate", hint="it is a file of certificates in PEM form"
                ) from None
        return context


def _load(context: ssl.SSLContext, certificate: str, key: Secret) -> None:
    with _in_memory(certificate) as chain, _in_memory(key.reveal()) as private:
        try:
            context.load_cert_chain(chain, private, password=_no_password)
        except _Encrypted:
            raise Misconfigured("the private key is encrypted", hint="give it without a passphrase") from None
        except ssl.SSLError as fault:
            raise Misconfigured(
                f"certificate and private key cannot be used together: {fault.reason or 'not in PEM form'}",
                hint="give a certificate chain and its private key, both in PEM form",
            ) from None


class _Encrypted(Exception):
    """A private key asks for a passphrase."""


def _no_password() -> str:
    raise _Encrypted


@contextlib.contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """Yield a path that holds the text, which is on no disk: OpenSSL reads certificates from files only."""
    number = os.memfd_create("tls")
    try:
        with open(number, "wb", closefd=False) as file:
            file.write(text.encode())
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)
