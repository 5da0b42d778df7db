"""The region of the instance that the agent runs on, for where nobody has said one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from rolecall.core.names import Region
from rolecall.edges.aws.imds import Imds, imds_endpoint
from rolecall.edges.aws.node_credentials import NoNodeCredentials
from rolecall.edges.http_client import HttpClient
from rolecall.errors import Misconfigured

_TRIES = 2


def region_of_instance(environment: Mapping[str, str]) -> Region:
    """Ask IMDS, twice where that is needed, which takes 4 seconds at most; raises `Misconfigured`."""
    url = imds_endpoint(environment)
    if url is None:
        raise _unknown("AWS_EC2_METADATA_DISABLED is set")
    return asyncio.run(_ask(url))


async def _ask(url: str) -> Region:
    http = HttpClient(at_once=1, waiting=0)
    why = ""
    try:
        for _ in range(_TRIES):
            try:
                return await Imds(url, http).region()
            except NoNodeCredentials as failure:
                why = failure.message
    finally:
        http.close()
    raise _unknown(why)


def _unknown(why: str) -> Misconfigured:
    return Misconfigured(f"the AWS region is not known: {why}", hint="set --region or AWS_REGION")
