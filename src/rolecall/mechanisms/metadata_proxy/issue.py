"""How a grant becomes credentials: one AssumeRole by the agent's own credentials."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from rolecall.core.caller import AtContainerIp, AtPodIp
from rolecall.core.grant import Grant, Hop
from rolecall.core.source import Issued, Subject

Assume = Callable[[Hop], Awaitable[Issued]]


async def issue(grant: Grant, caller: AtPodIp | AtContainerIp, assume: Assume) -> Issued:
    """Return the credentials of the granted role, with the pod that they are for. Raises what `assume` raises."""
    issued = await assume(grant.hops[-1])
    if isinstance(caller, AtContainerIp):
        return issued
    return replace(issued, subject=Subject(caller.pod.namespace, caller.pod.service_account))
