"""Puts the webhook together: sources, what gathers from them, what answers, and the certificate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from rolecall.daemons.runner import Parts
from rolecall.daemons.webhook.certificate.keeper import CertificateKeeper
from rolecall.daemons.webhook.config import ServerSettings, WebhookConfig
from rolecall.daemons.webhook.gather import Associations, Gatherer
from rolecall.daemons.webhook.reviewer import Reviewer
from rolecall.daemons.webhook.sources.accounts import Accounts
from rolecall.daemons.webhook.sources.associations import AT_ONCE, ServerAssociations
from rolecall.daemons.webhook.sources.config_map import ConfigMapRoles
from rolecall.daemons.webhook.sources.identities import Identities
from rolecall.daemons.webhook.sources.look_ups import LookUpRules
from rolecall.edges import entropy
from rolecall.edges.aws.authentication import Authentication, ServiceAccountToken, Signature
from rolecall.edges.aws.credential_chain import Surroundings, choose
from rolecall.edges.certificate_files import CertificateFiles, read_pem
from rolecall.edges.certificates import read_certificate
from rolecall.edges.clock import Clock
from rolecall.edges.http_client import HttpClient
from rolecall.edges.kube.client import KubeClient
from rolecall.edges.kube.config import api_server
from rolecall.edges.kube.watch import Watch
from rolecall.edges.server_tls import ServerTls
from rolecall.edges.telemetry import Log
from rolecall.edges.tls import ClientTls, TlsFiles


class Certificate(Protocol):
    """What looks after the certificate."""

    ends: float
    fault: str

    async def run(self) -> None:
        """Do it, for ever."""
        ...


@dataclass(slots=True)
class Webhook:
    """The parts that the process runs."""

    gatherer: Gatherer
    reviewer: Reviewer
    certificate: Certificate
    tls: ServerTls
    client: KubeClient
    accounts: Accounts
    identities: Identities | None
    server: ServerAssociations | None
    http: HttpClient | None
    clock: Clock
    log: Log
    parts: Parts = field(init=False)

    def __post_init__(self) -> None:
        self.parts = Parts(lambda name, error: self.log.crash("webhook.part_ended", error, part=name))

    @property
    def broken(self) -> bool:
        """Whether a part of it has ended, which none should."""
        return self.parts.broken

    def start(self, stop: Callable[[], object]) -> None:
        """Begin the work in the background; raises `Misconfigured`. Call it once, inside the running loop.

        `stop` is called where a part of it ends, which is a defect; `broken` says so.
        """
        self.parts.stop = stop
        if isinstance(self.certificate, CertificateFiles):
            self.certificate.start()
        self.parts.keep("certificate", self.certificate.run())
        for source in self.gatherer.sources:
            self.parts.keep(source.name, source.run())

    async def reload(self) -> None:
        """Read all files again."""
        if isinstance(self.certificate, CertificateFiles):
            self.certificate.look(again=True)
        if self.identities is not None:
            self.identities.look(again=True)
        self.log.info("webhook.reloaded")

    async def close(self) -> None:
        """End it."""
        await self.parts.close()
        await self.accounts.close()
        self.client.close()
        if self.server is not None:
            await self.server.close()
        if self.http is not None:
            self.http.close()


def build(config: WebhookConfig, clock: Clock, log: Log) -> Webhook:
    """Return the webhook's parts, wired; nothing is opened yet. Raises `Misconfigured`."""
    why = "service accounts are read from the API server"
    here = api_server(config.kubeconfig, config.environment, why=why, url=config.kube_api, flag="--kube-api")
    client = KubeClient(here)
    rules = LookUpRules(seconds=config.lookup)
    accounts = Accounts(client, prefix=config.rules.prefix, clock=clock, rules=rules)
    watch = partial(Watch, client, clock=clock, dice=entropy.dice, log=log)
    accounts.watch_with(watch(accounts.watched, accounts))
    roles = ConfigMapRoles(log=log) if config.config_map else None
    if roles is not None:
        roles.watch_with(watch(roles.watched(config.namespace), roles))
    identities = Identities(config.identities, clock=clock, log=log) if config.identities is not None else None
    http, server = _server(config, clock, log, rules) if config.server is not None else (None, None)
    associations: list[Associations] = [one for one in (identities, server) if one is not None]
    gatherer = Gatherer(accounts, f"{config.rules.prefix}/role-arn", associations, roles)
    reviewer = Reviewer(config.rules, gatherer, most=config.most_at_once, dice=entropy.dice, clock=clock, log=log)
    tls = ServerTls(
        minimum=config.tls.minimum,
        ciphers=config.tls.ciphers,
        client_ca=read_pem(config.tls.client_ca),
        client_names=config.tls.client_names,
    )
    certificate = _certificate(config, client, tls, clock, log)
    return Webhook(gatherer, reviewer, certificate, tls, client, accounts, identities, server, http, clock, log)


def _certificate(
    config: WebhookConfig, client: KubeClient, tls: ServerTls, clock: Clock, log: Log
) -> CertificateFiles | CertificateKeeper:
    if config.tls.files is not None:
        return CertificateFiles(
            *config.tls.files, config.tls.client_ca, tls, clock=clock, log=log, read=read_certificate
        )
    place = (config.namespace, config.service)
    return CertificateKeeper(config.tls, place, client, tls, clock=clock, log=log, dice=entropy.uniform)


def _server(config: WebhookConfig, clock: Clock, log: Log, rules: LookUpRules) -> tuple[HttpClient, ServerAssociations]:
    settings = config.server
    assert settings is not None
    http = HttpClient(
        at_once=AT_ONCE + 1,
        waiting=64,
        proxies=config.environment,
        tls=ClientTls(TlsFiles(ca=settings.ca_file), log=log),
    )
    found = ServerAssociations(
        settings.endpoint,
        settings.cluster,
        http=http,
        authentication=_authentication(config.environment, settings, http, clock, log),
        clock=clock,
        log=log,
        rules=rules,
        dice=entropy.dice,
    )
    return http, found


def _authentication(
    environment: Mapping[str, str], settings: ServerSettings, http: HttpClient, clock: Clock, log: Log
) -> Authentication:
    """Return what the webhook proves itself with: its own token, or its AWS credentials."""
    if settings.token_file is not None:
        token = ServiceAccountToken(settings.token_file)
        token.read()  # a mistake is said at the start
        return token
    assert settings.region is not None, "read_config leaves it out only beside a token"
    around = Surroundings(
        region=settings.region,
        node=None,
        http=http,
        near=lambda: HttpClient(at_once=2, waiting=8, tls=ClientTls(TlsFiles(), log=log)),
        clock=clock,
        dice=entropy.dice,
        log=log,
    )
    return Signature(choose(environment, around), region=settings.region, clock=clock, service="eks")
