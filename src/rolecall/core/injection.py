"""What a pod is given at admission: environment and token mounts, apart from any wire shape.

The webhook renders an `Injection` to a JSON Patch; ``rolecall run`` renders it to a process.
"""

from __future__ import annotations

from typing import Literal

from rolecall.core.frozen import frozen
from rolecall.core.names import Region
from rolecall.errors import BadName

Generation = Literal["pod-identity", "irsa"]

SHORTEST_TOKEN = 600
LONGEST_TOKEN = 86_400


@frozen
class TokenMount:
    """A projected service-account token: volume name, where it is mounted, file, audience, lifetime (s)."""

    volume: str
    mount_path: str
    file: str
    audience: str
    expiration: int

    @property
    def path(self) -> str:
        """The token file as the program sees it."""
        return f"{self.mount_path}/{self.file}"


@frozen
class Place:
    """Where the pod runs: the region it is told, and whether STS is to be asked in that region."""

    region: Region | None = None
    sts_regional: bool = True


@frozen
class Injection:
    """Environment in the order it is appended, the token to mount, and why this generation was chosen.

    The last two variables are the generation's pair: where the token is, and what it is for. A program needs both.
    """

    generation: Generation
    env: tuple[tuple[str, str], ...]
    token: TokenMount
    because: str

    @property
    def pair(self) -> tuple[tuple[str, str], ...]:
        """The two variables by which an SDK finds this generation."""
        return self.env[-2:]


def place_env(place: Place) -> tuple[tuple[str, str], ...]:
    """Return the variables that both generations get, in the order AWS's webhook appends them."""
    env: list[tuple[str, str]] = []
    if place.sts_regional:
        env.append(("AWS_STS_REGIONAL_ENDPOINTS", "regional"))
    if place.region:
        env += [("AWS_DEFAULT_REGION", str(place.region)), ("AWS_REGION", str(place.region))]
    return tuple(env)


def token_lifetime(seconds: int) -> int:
    """Return the lifetime the kubelet is asked for: at least 600 s, at most 86,400 s."""
    return min(max(seconds, SHORTEST_TOKEN), LONGEST_TOKEN)


def check_audience(audience: str) -> str:
    """Return a usable token audience.

    An empty audience is refused: the token would be one for the API server itself.
    """
    if not audience.strip():
        raise BadName("the token audience is empty: such a token would open the Kubernetes API itself")
    return audience
