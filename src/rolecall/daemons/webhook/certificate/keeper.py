"""Keeps a certificate of our own: in a Secret that all replicas share, and believed by the API server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rolecall.daemons.webhook.certificate import wire
from rolecall.daemons.webhook.certificate.plan import Kept, step
from rolecall.daemons.webhook.config import TlsSettings
from rolecall.edges.certificates import ServingPair, make_pair, read_certificate
from rolecall.edges.clock import Clock
from rolecall.edges.kube.client import ApiError
from rolecall.edges.server_tls import ServerTls
from rolecall.edges.telemetry import Log
from rolecall.errors import RolecallError, Upstream

EVERY, AFTER_A_FAULT = 30.0, 5.0
"""Seconds between two looks: at the end of a certificate each replica shows the next one so much later at most."""
_TRIES = 4
NOT_FOUND, CONFLICT = 404, 409


class Objects(Protocol):
    """The API server's objects, as JSON (`rolecall.edges.kube.client.KubeClient`). Each raises `Upstream`."""

    async def get(self, path: str) -> bytearray: ...

    async def create(self, path: str, body: bytes) -> bytearray: ...

    async def replace(self, path: str, body: bytes) -> bytearray: ...

    async def patch(self, path: str, body: bytes, *, kind: str) -> bytearray: ...


class CertificateKeeper:
    """Shows the certificate that the replicas share, makes the next one in time, and has the API server believe it.

    `ends` is when the certificate that is shown ends; `fault` what is wrong now.
    """

    def __init__(
        self, settings: TlsSettings, place: tuple[str, str], objects: Objects, tls: ServerTls, *, clock: Clock,
        log: Log,
        dice: Callable[[float, float], float],
    ) -> None:  # fmt: skip
        self._settings, self._objects, self._tls = settings, objects, tls
        self._namespace, self._service = map(str, place)  # of names as such, no document can be written
        self._clock, self._log, self._dice = clock, log, dice
        self._secrets = f"/api/v1/namespaces/{self._namespace}/secrets"
        self._secret = f"{self._secrets}/{settings.secret}"
        kind = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
        self._configuration = f"{kind}/{settings.webhook_config}"
        self._shown = ""
        self._known: tuple[str, float] = ("", 0.0)  # the next authority, and since when the API server knows it
        self.ends = 0.0
        self.fault = ""

    async def run(self) -> None:
        """Look after the certificate, for ever."""
        while True:
            try:
                await self.look()
                self.fault = ""
            except RolecallError as fault:
                if fault.message != self.fault:
                    self._log.warning("certificate.not_kept", why=fault.message, hint=fault.hint)
                self.fault = fault.message
            wait = AFTER_A_FAULT if self.fault else min(EVERY, self._settings.overlap)
            await self._clock.sleep(self._dice(0.8 * wait, wait))

    async def look(self) -> None:
        """Read what is shared, go on by one step, show and spread it; raises `RolecallError`."""
        for _ in range(_TRIES):
            shared = await self._read()
            kept = None if shared is None else shared.kept
            after = step(
                kept,
                self._clock.now(),
                names=self._settings.names,
                known=self._knows_next(kept),
                read=read_certificate,
                make=self._make,
            )
            try:
                if after is not None:
                    await self._write(after, shared)
            except ApiError as error:
                if error.status != CONFLICT:
                    raise
                continue  # another replica has written: what it wrote counts
            kept = after or kept
            assert kept is not None
            self._show(kept.shown)
            await self._spread(kept)
            return
        raise Upstream(f"the Secret {self._settings.secret} changes faster than it can be written")

    async def _read(self) -> wire.Shared | None:
        try:
            return wire.decode_secret(await self._objects.get(self._secret))
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            return None

    async def _write(self, kept: Kept, over: wire.Shared | None) -> None:
        body = wire.encode_secret(kept, self._namespace, self._settings.secret, over)
        if over is None:
            await self._objects.create(self._secrets, body)
        else:
            await self._objects.replace(self._secret, body)
        self._log.info("certificate.kept", next=kept.next is not None, former=bool(kept.former))

    def _make(self) -> ServingPair:
        return make_pair(self._settings.names, self._clock.now())

    def _show(self, pair: ServingPair) -> None:
        if pair.certificate == self._shown:
            return
        found = read_certificate(pair.certificate)
        self._tls.show(pair.certificate, pair.key)
        self._shown, self.ends = pair.certificate, found.ends
        self._log.info("certificate.shown", ends=round(found.ends), names=sorted(found.names)[:10])

    def _knows_next(self, kept: Kept | None) -> bool:
        if kept is None or kept.next is None or kept.next.authority != self._known[0]:
            return False
        return self._clock.monotonic() - self._known[1] >= self._settings.overlap

    async def _spread(self, kept: Kept) -> None:
        """Have the API server believe what is shown and what will be, and remember since when it knows the next."""
        name = self._settings.webhook_config
        try:
            text = await self._objects.get(self._configuration)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            raise Upstream(
                f"there is no MutatingWebhookConfiguration {name}", hint="create it, or name it with --webhook-config"
            ) from None
        entries = wire.decode_configuration(text, (self._namespace, self._service), self._settings.names)
        if not entries.ours:
            raise Upstream(
                f"no webhook in {name} calls the service {self._namespace}/{self._service}",
                hint="--namespace and --service-name name it; for a URL, --tls-name its host",
            )
        if any(believed != kept.bundle for _, _, believed in entries.ours):
            patch = wire.encode_bundle_patch(entries, kept.bundle)
            await self._objects.patch(self._configuration, patch, kind="json-patch")
            self._log.info("certificate.spread", webhooks=[webhook for _, webhook, _ in entries.ours])
        following = "" if kept.next is None else kept.next.authority
        if following != self._known[0]:
            self._known = (following, self._clock.monotonic())
