"""What the webhook decides by: its settings, and the facts about one service account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rolecall.core.frozen import frozen
from rolecall.core.injection import check_audience
from rolecall.core.names import AccountId, Partition, Region
from rolecall.mechanisms.irsa import inject as irsa
from rolecall.mechanisms.pod_identity import inject as pod_identity

SKIP_LABEL = "eks.amazonaws.com/skip-pod-identity-webhook"
"""Any value skips the pod, as in the selector that AWS's webhook is registered with."""
INJECT_LABEL = "rolecall.dev/inject"
REQUIRED = "required"
"""With this value of the label a pod that would run without its role is refused."""
POD_IDENTITY_LABEL = "eks.amazonaws.com/pod-identity"
ENABLED = "enabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings that decide. Defaults are those of AWS's webhook, where it has the setting.

    `bare_roles` is where a role's bare name is looked for (``--compose-role-arn``); `expiration_jitter` is by how many
    seconds at most a Pod Identity token of exactly a day is shortened; `loopback_uri` is the door of pods whose SDK
    takes no other address than loopback. Raises `BadName` for an empty audience.
    """

    prefix: str = irsa.PREFIX
    region: Region | None = None
    sts_regional: bool = False
    expiration: int = 86_400
    audience: str = irsa.AUDIENCE
    mount_path: str = irsa.MOUNT_PATH
    bare_roles: tuple[Partition, AccountId] | None = None
    pod_identity_audience: str = pod_identity.AUDIENCE
    pod_identity_mount_path: str = pod_identity.MOUNT_PATH
    pod_identity_volume: str = pod_identity.TOKEN_NAME
    pod_identity_token_path: str = pod_identity.TOKEN_NAME
    full_uri: str = pod_identity.FULL_URI
    loopback_uri: str | None = None
    expiration_jitter: int = 7_200
    session_name: bool = False
    skip_host_network: bool = False
    no_proxy: bool = True
    strict: bool = False

    def __post_init__(self) -> None:
        check_audience(self.audience)
        check_audience(self.pod_identity_audience)


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    """An entry of the webhook's ConfigMap: a role for service accounts without a ``role-arn`` annotation.

    What is None was not written, and is the setting's.
    """

    role_arn: str
    audience: str | None = None
    sts_regional: bool | None = None
    expiration: int | None = None


@frozen
class Facts:
    """What is known of a pod's service account.

    `annotations` is None where there is no such service account, as far as we can see. `association_id` is None where
    it has no association; where a file lists it without an id, it is the words to call it by.
    """

    annotations: Mapping[str, str] | None = None
    association_id: str | None = None
    entry: ConfigEntry | None = None
