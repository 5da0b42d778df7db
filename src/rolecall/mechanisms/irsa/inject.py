"""What IRSA adds to a pod: the role its service account names, and a token that STS accepts."""

from __future__ import annotations

from rolecall.core.injection import Injection, Place, TokenMount, check_audience, place_env, token_lifetime
from rolecall.core.names import RoleArn
from rolecall.core.records import ServiceAccountFacts
from rolecall.errors import BadName

# aws-pod-identity.md §2.1-2.3; the annotation domain is the webhook's --annotation-prefix.
PREFIX = "eks.amazonaws.com"
AUDIENCE = "sts.amazonaws.com"
MOUNT_PATH = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


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

    Annotations win over the arguments: ``audience``, ``sts-regional-endpoints`` and ``token-expiration``
    (seconds; raised to 600). Raises `BadName` where an annotation cannot work, naming the annotation.
    """
    text = role_annotation(account, prefix)
    if text is None:
        raise BadName(f"service account {account.namespace}/{account.name} has no {prefix}/role-arn annotation")
    role = RoleArn.parse(text)
    audience = check_audience(account.annotations.get(f"{prefix}/audience", AUDIENCE))
    wanted = account.annotations.get(f"{prefix}/token-expiration")
    if wanted is not None:
        if not wanted.isascii() or not wanted.isdigit():
            raise BadName(f"annotation {prefix}/token-expiration is {wanted!r}: use whole seconds, at least 600")
        expiration = int(wanted)
    token = TokenMount(
        volume="aws-iam-token",
        mount_path=mount_path,
        file="token",
        audience=audience,
        expiration=token_lifetime(expiration),
    )
    regional = account.annotations.get(f"{prefix}/sts-regional-endpoints", "")
    if regional in _TRUE | _FALSE:
        place = Place(region=place.region, sts_regional=regional in _TRUE)
    env = (
        *place_env(place),
        ("AWS_ROLE_ARN", str(role)),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.path),
    )
    return Injection("irsa", env, token, because=f"annotation {prefix}/role-arn")
