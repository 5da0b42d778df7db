"""What a token says, and what it takes to believe it.

`VerifiedClaims` is born in `rolecall.core.tokens.verify` only: holding one means that every step was passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rolecall.core.names import Namespace, PodName, ServiceAccountName

Class = Literal["required", "optional", "ignored"]

KUBERNETES = "kubernetes.io"
TAGS = "https://aws.amazon.com/tags"
FLAT_TAG = "https://aws.amazon.com/tags/principal_tags/"
FLAT_TRANSITIVE = "https://aws.amazon.com/tags/transitive_tag_keys"
SOURCE_IDENTITY = "https://aws.amazon.com/source_identity"
ROLES = "https://aws.amazon.com/roles"

# Every claim that a service-account or web-identity token is known to carry. What is not listed is reported
# in `VerifiedClaims.unknown` and never used. `ignored` ones are known to say nothing that a decision reads.
CLASSES: Mapping[str, Class] = {
    "iss": "required",
    "sub": "required",
    "aud": "required",
    "exp": "required",
    "iat": "required",
    "nbf": "optional",
    "azp": "optional",
    "jti": "optional",
    KUBERNETES: "optional",
    TAGS: "optional",
    FLAT_TRANSITIVE: "optional",
    SOURCE_IDENTITY: "optional",
    ROLES: "optional",
    "amr": "ignored",
    "at_hash": "ignored",
    "auth_time": "ignored",
    "email": "ignored",
    "nonce": "ignored",
}


def class_of(name: str) -> Class | None:
    """Return how a claim is treated, or None for one that is not known."""
    return "optional" if name.startswith(FLAT_TAG) else CLASSES.get(name)


@dataclass(frozen=True, slots=True)
class SessionTags:
    """Session tags that an issuer put into the token (IAM User Guide, "Passing session tags using OIDC").

    Every transitive key is the key of a tag. STS's limits on tags are the door's to check.
    """

    principal_tags: Mapping[str, str]
    transitive_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KubernetesClaims:
    """The ``kubernetes.io`` claim (Kubernetes, bound service account tokens). Pod and node may be absent."""

    namespace: Namespace
    service_account: ServiceAccountName
    service_account_uid: str
    pod_name: PodName | None = None
    pod_uid: str | None = None
    node_name: str | None = None
    node_uid: str | None = None


@dataclass(frozen=True, slots=True)
class VerifiedClaims:
    """The claims of a token whose signature, issuer, audience and times were checked.

    `audience` is the one that matched, `audiences` all that the token names. Times are seconds since the
    epoch. `kubernetes` is None where the token has no such claim, or one that does not fit its subject at a
    door that does not ask for it. `authorized_roles` are the only role ARNs that the issuer lets the holder
    assume; None where it does not say.
    """

    issuer: str
    subject: str
    audience: str
    expires_at: float
    issued_at: float
    not_before: float | None = None
    audiences: tuple[str, ...] = ()
    authorized_party: str | None = None
    token_id: str | None = None
    kubernetes: KubernetesClaims | None = None
    aws_tags: SessionTags | None = None
    source_identity: str | None = None
    authorized_roles: tuple[str, ...] | None = None
    unknown: tuple[str, ...] = field(default=())
