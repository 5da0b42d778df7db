"""Which node an agent is on: by its own token, which the API server is asked about, and the pod that it is bound to."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from rolecall.core.secrets import Secret
from rolecall.edges.clock import Clock
from rolecall.edges.kube.client import KubeClient
from rolecall.errors import ServiceError
from rolecall.mechanisms.metadata_proxy.remote import wire
from rolecall.mechanisms.metadata_proxy.remote.wire import Reviewed

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
BELIEVED_FOR = 60.0
"""Seconds that the API server's word about a token counts; whether its pod runs is looked at each time."""
_MOST = 4096


@dataclass(frozen=True, slots=True)
class _Known:
    found: Reviewed | None
    until: float


class Agents:
    """Knows the service accounts that agents run under, as ``namespace/name``. `node_of_pod` is asked by uid."""

    def __init__(
        self, api: KubeClient, accounts: Collection[str], audiences: tuple[str, ...],
        node_of_pod: Callable[[str], str | None], clock: Clock,
    ) -> None:  # fmt: skip
        self._api, self._audiences, self._clock = api, audiences, clock
        self._users = {f"system:serviceaccount:{name.replace('/', ':')}" for name in accounts}
        self._node_of_pod = node_of_pod
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    async def node_of(self, authorization: str) -> str:
        """Return the agent's node. Raises `ServiceError` 401 or 403 for who is no agent, `Upstream`."""
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer" or not text or len(text) > 20_000:
            raise ServiceError("no-token", "an agent shows its service account's token", status=401)
        found = await self._reviewed(Secret(text))
        if found is None:
            raise ServiceError("bad-token", "the API server does not believe the agent's token", status=401)
        if found.user not in self._users:
            raise ServiceError("no-agent", f"{found.user[:200]} runs no agent here", status=403)
        node = self._node_of_pod(found.pod_uid) if found.pod_uid else None
        if not node:
            raise ServiceError("no-node", "the agent's token is bound to no pod that runs on a node", status=403)
        return node

    async def _reviewed(self, token: Secret) -> Reviewed | None:
        key, now = token.digest(), self._clock.monotonic()
        known = self._known.get(key)
        if known is not None and now < known.until:
            return known.found
        body = await self._api.create(REVIEWS, wire.encode_token_review(token, self._audiences))
        found = wire.decode_token_review(body)
        self._known[key] = _Known(found, now + BELIEVED_FOR)
        self._known.move_to_end(key)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        return found
