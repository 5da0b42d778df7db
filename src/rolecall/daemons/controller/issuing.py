"""Where sessions come from: STS, signed by the controller's own credentials or by those of a role that it assumes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from rolecall.core.names import RoleArn
from rolecall.core.session import LONGEST_CHAINED_SESSION
from rolecall.daemons.controller.config import ControllerConfig, checked_base
from rolecall.edges import entropy
from rolecall.edges.aws.attempts import Calling
from rolecall.edges.aws.chained import chained
from rolecall.edges.aws.credential_chain import Chosen, Surroundings, choose
from rolecall.edges.aws.endpoints import sts_endpoint
from rolecall.edges.aws.imds import Imds, imds_endpoint
from rolecall.edges.aws.node_credentials import NoNodeCredentials
from rolecall.edges.aws.renewed import RenewedCredentials
from rolecall.edges.aws.sts import AssumeRole
from rolecall.edges.clock import Clock
from rolecall.edges.http_client import HttpClient
from rolecall.edges.metrics import Histogram, count
from rolecall.edges.telemetry import Log
from rolecall.edges.tls import ClientTls, TlsFiles
from rolecall.errors import BadName, Misconfigured
from rolecall.mechanisms.metadata_proxy.roles import base_of_profile
from rolecall.mechanisms.metadata_proxy.settings import SecretFiles
from rolecall.mechanisms.metadata_proxy.wire import instance_profile

SESSION = "kube-aws-iam-controller"
"""What the session of --assume-role is called."""
_TRIES = 3
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
Found = TypeVar("Found")


@dataclass(slots=True)
class Calls:
    """The calls to STS: how many by code, and how long they took."""

    codes: dict[str, int] = field(default_factory=dict)
    seconds: Histogram = field(default_factory=lambda: Histogram(_BUCKETS))

    def told(self, word: str, seconds: float) -> None:
        """Count one."""
        count(self.codes, word)
        self.seconds.observe(seconds)


@dataclass(slots=True)
class Issuing:
    """What is needed to issue: the rules with all that was found out, STS, and who signs."""

    rules: SecretFiles
    assume: AssumeRole
    signer: Chosen
    calls: Calls
    chain: RenewedCredentials | None
    https: list[HttpClient]

    async def close(self) -> None:
        """End it."""
        if self.chain is not None:
            await self.chain.close()
        await self.signer.close()
        for http in self.https:
            http.close()


async def issuing(config: ControllerConfig, clock: Clock, log: Log) -> Issuing:
    """Return it; asks the instance's metadata service for what nobody has said. Raises `RolecallError`."""
    bundle = config.environment.get("AWS_CA_BUNDLE")
    tls = ClientTls(TlsFiles(ca=Path(bundle) if bundle else None), log=log)
    http = HttpClient(at_once=config.workers, waiting=1000, proxies=config.environment, tls=tls)
    near = HttpClient(at_once=2, waiting=8, tls=tls)
    https = [http, near]
    try:
        region = config.region
        if region is None:
            region = await _asked(config, near, "region", "--region or AWS_REGION", Imds.region)
        rules = config.rules
        if not rules.base:
            rules = replace(rules, base=await _asked(config, near, "base role ARN", "--base-role-arn", _base))
            log.info("controller.base_role_arn", found=rules.base)
        calls = Calls()
        around = Surroundings(
            region=region, node=config.instance, http=http, near=lambda: near, clock=clock, dice=entropy.dice, log=log
        )
        signer = choose(config.environment, around)
        role = _own_role(config.assume_role, rules.base) if config.assume_role else None
        calling = Calling(
            http=http, clock=clock, dice=entropy.dice, attempt_timeout=5.0, deadline=15.0, told=calls.told
        )
        endpoint = sts_endpoint(region, config.environment)
        assuming = partial(AssumeRole, endpoint, region=region, calling=calling, log=log)
        assume, chain = assuming(credentials=signer), None
        if role is not None:
            chain = chained(assume, role, SESSION, clock=clock, dice=entropy.dice, log=log)
            assume = assuming(credentials=chain)
        # STS gives who is a role an hour at most: a longer wish would fail, again and again.
        is_role = chain is not None or await signer.is_temporary()
        rules = replace(rules, longest=LONGEST_CHAINED_SESSION) if is_role else rules
    except BaseException:
        for one in https:
            one.close()
        raise
    signer.start()
    log.info("controller.signs_with", source=signer.kind, where=signer.where, assumes=str(role or ""))
    return Issuing(rules, assume, signer, calls, chain, https)


def _own_role(text: str, base: str) -> RoleArn:
    prefix = ":".join(base.split(":")[:4]) + ":"
    try:
        return RoleArn.parse(text if text.startswith(prefix) else base + text)
    except BadName as fault:
        raise Misconfigured(f"--assume-role: {fault.message}", hint="give a role's name or ARN") from None


async def _base(imds: Imds) -> str:
    body = await imds.document("/latest/meta-data/iam/info")
    try:
        return checked_base(base_of_profile(instance_profile(body or b"")))
    except BadName as fault:
        raise NoNodeCredentials(fault.message) from None


async def _asked(
    config: ControllerConfig, near: HttpClient, what: str, flag: str, ask: Callable[[Imds], Awaitable[Found]]
) -> Found:
    """Return what the instance's metadata service says; raises `Misconfigured`, naming the flag that says it too."""
    url, why = imds_endpoint(config.environment), "AWS_EC2_METADATA_DISABLED is set"
    for _ in range(_TRIES if url is not None else 0):
        try:
            return await ask(Imds(url or "", near))
        except NoNodeCredentials as failure:
            why = failure.message
    raise Misconfigured(f"the {what} is not known: {why}", hint=f"set {flag}")
