"""What a token says, and what it takes to believe it.

`VerifiedClaims` is born in `rolecall.core.tokens.verify` only: holding one means that every step was passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rolecall.core.names import Namespace, ServiceAccountName

Class = Literal["required", "optional", "ignored"]

# Every claim that a service-account or web-identity token is known to carry. What is not listed is reported
# in `VerifiedClaims.unknown` and never used.
CLASSES: Mapping[str, Class] = {
    "iss": "required",
    "sub": "required",
    "aud": "required",
    "exp": "required",
    "iat": "required",
    "nbf": "optional",
    "azp": "optional",
    "kubernetes.io": "optional",
    "https://aws.amazon.com/tags": "optional",
    "https://aws.amazon.com/source_identity": "optional",
    "jti": "ignored",
    "amr": "ignored",
    "email": "ignored",
}
FLAT_TAG = "https://aws.amazon.com/tags/principal_tags/"
FLAT_TRANSITIVE = "https://aws.amazon.com/tags/transitive_tag_keys"


@dataclass(frozen=True, slots=True)
class SessionTags:
    """Session tags that an issuer put into the token (IAM User Guide, "Passing session tags using OIDC")."""

    principal_tags: Mapping[str, str]
    transitive_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KubernetesClaims:
    """The ``kubernetes.io`` claim (Kubernetes, bound service account tokens). Pod and node may be absent."""

    namespace: Namespace
    service_account: ServiceAccountName
    service_account_uid: str
    pod_name: str | None = None
    pod_uid: str | None = None
    node_name: str | None = None
    node_uid: str | None = None


@dataclass(frozen=True, slots=True)
class VerifiedClaims:
    """The claims of a token whose signature, issuer, audience and times were checked.

    `audience` is the one that matched. Times are seconds since the epoch.
    """

    issuer: str
    subject: str
    audience: str
    expires_at: float
    issued_at: float
    not_before: float | None = None
    kubernetes: KubernetesClaims | None = None
    aws_tags: SessionTags | None = None
    source_identity: str | None = None
    unknown: tuple[str, ...] = field(default=())
