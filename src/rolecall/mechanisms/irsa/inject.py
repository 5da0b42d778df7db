"""What IRSA adds to a pod: the role its service account names, and a token that STS accepts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from rolecall.core.injection import Injection, Place, TokenMount, check_audience, place_env, token_lifetime
from rolecall.core.names import RoleArn
from rolecall.core.records import ServiceAccountFacts
from rolecall.errors import BadName

# aws-pod-identity.md §2.1-2.3; the annotation domain is the webhook's --annotation-prefix.
PREFIX = "eks.amazonaws.com"
AUDIENCE = "sts.amazonaws.com"
MOUNT_PATH = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
VOLUME = "aws-iam-token"
TOKEN_NAME = "token"  # noqa: S105 - a file name, not a token
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)

Parsed = TypeVar("Parsed")


def role_annotation(account: ServiceAccountFacts, prefix: str = PREFIX) -> str | None:
    """Return the text of the ``role-arn`` annotation, or None where there is none."""
    return account.annotations.get(f"{prefix}/role-arn") or None


def inject(
    account: ServiceAccountFacts,
    place: Place,
    *,
    prefix: str = PREFIX,
    mount_path: str = MOUNT_PATH,
    expiration: int = 86_400,
) -> Injection:
    """Return what a pod of an annotated service account is given.

    Annotations win over the arguments: ``audience``, ``sts-regional-endpoints`` (as Go's ParseBool reads it;
    anything else is passed over) and ``token-expiration`` (seconds; kept within 600 and 86,400). Raises `BadName`
    where an annotation cannot work, naming the annotation; AWS's webhook would leave the pod to fail.
    """
    text = role_annotation(account, prefix)
    if text is None:
        raise BadName(f"service account {account.namespace}/{account.name} has no {prefix}/role-arn annotation")
    role = _annotated(f"{prefix}/role-arn", RoleArn.parse, text)
    audience = _annotated(f"{prefix}/audience", check_audience, account.annotations.get(f"{prefix}/audience", AUDIENCE))
    wanted = account.annotations.get(f"{prefix}/token-expiration")
    if wanted is not None:
        expiration = _annotated(f"{prefix}/token-expiration", seconds, wanted)
    regional = truth(account.annotations.get(f"{prefix}/sts-regional-endpoints", ""))
    if regional is not None:
        place = Place(region=place.region, sts_regional=regional)
    return injection(
        str(role),
        place,
        audience=audience,
        mount_path=mount_path,
        expiration=expiration,
        because=f"annotation {prefix}/role-arn",
    )


def injection(role: str, place: Place, *, audience: str, mount_path: str, expiration: int, because: str) -> Injection:
    """Return the variables and the token for a role, whose text is taken as it is.

    Raises `BadName` for an empty audience.
    """
    token = TokenMount(
        volume=VOLUME,
        mount_path=mount_path,
        file=TOKEN_NAME,
        audience=check_audience(audience),
        expiration=token_lifetime(expiration),
    )
    env = (
        *place_env(place),
        ("AWS_ROLE_ARN", role),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.path),
    )
    return Injection("irsa", env, token, because)


def truth(text: str) -> bool | None:
    """Return what Go's ParseBool reads, None where it reads nothing."""
    return True if text in _TRUE else False if text in _FALSE else None


def seconds(text: str) -> int:
    """Return a lifetime in whole seconds, or raise `BadName`."""
    if not _SECONDS.fullmatch(text):
        raise BadName(f"{text[:80]!r} is not a lifetime: use whole seconds, at least 600")
    return int(text)


def _annotated(key: str, parse: Callable[[str], Parsed], text: str) -> Parsed:
    """Return the parsed annotation; the error says which one it was."""
    try:
        return parse(text)
    except BadName as fault:
        raise BadName(f"annotation {key}: {fault.message}") from None
