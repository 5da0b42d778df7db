"""What kube2iam finds out by the node's own service at its start: the account of the roles, and the node's own role."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from rolecall.daemons.agent.metadata.settings import MetadataSettings
from rolecall.edges.aws.imds import INFO, Imds, imds_endpoint
from rolecall.edges.aws.node_credentials import NoNodeCredentials
from rolecall.edges.http_client import HttpClient
from rolecall.errors import BadName, Misconfigured
from rolecall.mechanisms.metadata_proxy.roles import base_of_profile
from rolecall.mechanisms.metadata_proxy.wire import instance_profile

_TRIES = 3


def discovered(settings: MetadataSettings, environment: Mapping[str, str]) -> MetadataSettings:
    """Return the settings with what was to be found; raises `Misconfigured` where it is not to be had."""
    if not settings.discover_base:
        return settings
    url = imds_endpoint(environment)
    if url is None:
        raise _unknown("AWS_EC2_METADATA_DISABLED is set")
    profile, role = asyncio.run(_ask(url, default=settings.discover_default))
    try:
        base = base_of_profile(profile)
    except BadName as fault:
        raise _unknown(fault.message) from None
    kube2iam = replace(settings.kube2iam, base=base, default_role=role or settings.kube2iam.default_role)
    return replace(settings, kube2iam=kube2iam, kiam=replace(settings.kiam, base=base))


async def _ask(url: str, *, default: bool) -> tuple[str, str]:
    """Return the instance profile's ARN and, where it is wanted, the name of the node's role."""
    http, why = HttpClient(at_once=1, waiting=0), ""
    imds = Imds(url, http)
    try:
        for _ in range(_TRIES):
            try:
                profile = instance_profile(await imds.document(INFO) or b"")
                return profile, (await imds.role() if default else "")
            except NoNodeCredentials as failure:
                why = failure.message
    finally:
        http.close()
    raise _unknown(why)


def _unknown(why: str) -> Misconfigured:
    return Misconfigured(
        f"the account of the roles is not known: {why}", hint="set --base-role-arn, and --default-role where one is due"
    )
