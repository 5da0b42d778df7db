"""The agent's way to EKS Auth: what it proves itself with, and the calls."""

from __future__ import annotations

from dataclasses import dataclass, field

from rolecall.core.source import Source
from rolecall.daemons.agent.config import AgentConfig
from rolecall.daemons.serving import SECONDS
from rolecall.edges import entropy
from rolecall.edges.aws.attempts import Calling
from rolecall.edges.aws.authentication import (
    Authentication,
    ClientCertificate,
    ServiceAccountToken,
    Signature,
    Unproven,
)
from rolecall.edges.aws.credential_chain import Chosen, Surroundings, choose
from rolecall.edges.aws.eks_auth import EksAuth
from rolecall.edges.aws.endpoints import eks_auth_endpoint
from rolecall.edges.aws.revocations import RevocationsClient
from rolecall.edges.clock import Clock
from rolecall.edges.http_client import HttpClient
from rolecall.edges.metrics import Histogram, count
from rolecall.edges.telemetry import Log
from rolecall.edges.tls import ClientTls, TlsFiles
from rolecall.mechanisms.pod_identity import wire

ANSWER_WITHIN = 6.0
"""Seconds in which a question upstream is answered or fails, all attempts together."""

ONE_CALL_WITHIN = 4.5
"""Seconds of one attempt: an upstream that takes three answers, late; one that is silent is asked a second time."""

AT_ONCE = 32
"""Calls for pods at once; each costs a thread, made when it is first needed.

A node that starts 110 pods has them all served within a second where a call takes 150 ms.
"""

OF_ONE = 28
"""Of these for one address: where a pod floods, there are places that it cannot take."""

WAITING_OF_ONE = 256
"""Questions of one address that may wait for their turn; four such floods are needed to fill what may wait in all."""

_THREADS = AT_ONCE + 1  # one for the list of revocations


@dataclass(slots=True)
class Calls:
    """The calls to EKS Auth: how many by code, and how long they took."""

    codes: dict[str, int] = field(default_factory=dict)
    seconds: Histogram = field(default_factory=lambda: Histogram(SECONDS))

    def told(self, word: str, seconds: float) -> None:
        """Count one."""
        count(self.codes, word)
        self.seconds.observe(seconds)


@dataclass(frozen=True, slots=True)
class Proof:
    """What the agent proves itself with upstream: its kind, where it is in words that hold no secret, and itself.

    `signer` is there where it is an AWS signature.
    """

    kind: str
    where: str
    authentication: Authentication
    signer: Chosen | None = None

    def start(self) -> None:
        """Fetch what has to be fetched, so that the first pod need not wait. Call it inside the running loop."""
        if self.signer is not None:
            self.signer.start()

    async def check(self) -> None:
        """Raise what a call would raise before anything is sent; what was remembered as failed is tried again."""
        if self.signer is not None:
            self.signer.forget_failure()
        await self.authentication.check()

    async def close(self) -> None:
        """End what is under way."""
        if self.signer is not None:
            await self.signer.close()


def http_client(config: AgentConfig, tls: ClientTls) -> HttpClient:
    """Return the client for calls upstream."""
    return HttpClient(at_once=_THREADS, waiting=1000, proxies=config.environment, tls=tls)


def proof(config: AgentConfig, http: HttpClient, tls: ClientTls, clock: Clock, log: Log) -> Proof:
    """Return what the agent proves itself with; raises `Misconfigured` where it is nothing that can work."""
    if config.upstream_tls.certificate is not None:
        tls.context()
    if config.token_file is not None:
        token = ServiceAccountToken(config.token_file)
        token.read()  # a mistake is said at the start, not to the first pod
        return Proof("service-account-token", str(config.token_file), token)
    if config.upstream_tls.certificate is not None:
        return Proof("client-certificate", str(config.upstream_tls.certificate), ClientCertificate(tls))
    if config.region is None:
        return Proof("none", "nothing is asked of AWS", Unproven())
    found = signer(config, http, clock, log)
    return Proof(found.kind, found.where, Signature(found, region=config.region, clock=clock), found)


def signer(config: AgentConfig, http: HttpClient, clock: Clock, log: Log) -> Chosen:
    """Return the agent's own AWS credentials; raises `Misconfigured` where there can be none."""
    assert config.region is not None, "read_config leaves it out only where nothing is signed"
    doors = [(host, config.port) for host in config.hosts]
    if config.metadata is not None:
        doors += [(host, config.metadata.port) for host in config.metadata.hosts]
    # IMDS and containers are asked without a proxy, in threads of their own.
    surroundings = Surroundings(
        region=config.region,
        node=config.node,
        http=http,
        near=lambda: near_client(config, log),
        clock=clock,
        dice=entropy.dice,
        log=log,
        doors=doors,
    )
    return choose(config.environment, surroundings)


def near_client(config: AgentConfig, log: Log) -> HttpClient:
    """Return a client for what is on this node, which knows no proxy."""
    return HttpClient(at_once=2, waiting=8, tls=ClientTls(TlsFiles(ca=config.ca_file), log=log))


def eks_auth(config: AgentConfig, http: HttpClient, known: Proof, clock: Clock, calls: Calls) -> Source:
    """Return the source that asks EKS Auth: AWS's own where no other endpoint is configured."""
    return EksAuth(
        config.endpoint or eks_auth_endpoint(config.region or "", config.environment),
        authentication=known.authentication,
        wire=wire,
        calling=Calling(
            http=http,
            clock=clock,
            dice=entropy.dice,
            attempt_timeout=ONE_CALL_WITHIN,
            deadline=ANSWER_WITHIN,
            told=calls.told,
        ),
        cluster=config.cluster,
    )


def revocations(config: AgentConfig, http: HttpClient, known: Proof) -> RevocationsClient | None:
    """Return what asks our own server for revocations; None where AWS itself is asked, which has none."""
    if config.endpoint is None:
        return None
    return RevocationsClient(endpoint=config.endpoint, http=http, authentication=known.authentication, wire=wire)
