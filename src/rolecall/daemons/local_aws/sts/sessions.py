"""Role sessions: issued here, kept until they expire, forgotten a day later."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from rolecall.core.credentials import Credentials
from rolecall.core.names import RoleArn
from rolecall.core.session import SessionSpec
from rolecall.core.source import Issued
from rolecall.daemons.local_aws import ids
from rolecall.daemons.local_aws.iam.records import Role
from rolecall.daemons.local_aws.operations import World
from rolecall.edges.store.sqlite import Tx
from rolecall.errors import ServiceError

_KEPT_AFTER_EXPIRY = 86_400.0
_PACKED_SPACE = 2048  # bytes


@dataclass(frozen=True, slots=True)
class Minted:
    """A new session: its credentials, and what it is called."""

    credentials: Credentials
    role: RoleArn
    role_id: str
    session_name: str

    @property
    def arn(self) -> str:
        """The session's ARN."""
        return self.role.session(self.session_name)

    @property
    def assumed_role_id(self) -> str:
        """``AROA…:session-name``."""
        return f"{self.role_id}:{self.session_name}"

    def issued(self) -> Issued:
        """Return it as the product's own doors hand it on."""
        return Issued(self.credentials, self.arn, self.assumed_role_id)

    def answer(self) -> dict[str, object]:
        """Return ``Credentials`` and ``AssumedRoleUser`` as STS's output shapes have them."""
        return {
            "Credentials": {
                "AccessKeyId": self.credentials.access_key_id,
                "SecretAccessKey": self.credentials.secret_access_key.reveal(),
                "SessionToken": self.credentials.session_token.reveal(),
                "Expiration": self.credentials.expires_at,
            },
            "AssumedRoleUser": {"AssumedRoleId": self.assumed_role_id, "Arn": self.arn},
        }


def mint(
    tx: Tx,
    world: World,
    role: Role,
    spec: SessionSpec,
    now: float,
    *,
    federated: Mapping[str, str] | None = None,
) -> Minted:
    """Issue a session of `role`, whatever policies say: the caller has judged.

    It lives `spec.duration` seconds, or shorter where the plane was started with a cap. A role tag is
    carried where no session tag has its name. Raises `ServiceError` PackedPolicyTooLarge for too much text in tags.
    """
    _refuse_packed(spec.tags)
    seconds = min(spec.duration, world.max_session_seconds or spec.duration)
    secret, token = ids.secret_key(), ids.session_token()
    credentials = Credentials(
        access_key_id=ids.unique_id("ASIA"),
        secret_access_key=secret,
        session_token=token,
        expires_at=float(int(now)) + seconds,
        account=role.arn.account,
    )
    named = {key.lower() for key in spec.tags}
    tags = {key: value for key, value in role.tags.items() if key.lower() not in named} | dict(spec.tags)
    _keep(tx, credentials, role, replace(spec, tags=tags), dict(federated or {}), now)
    return Minted(credentials, role.arn, role.role_id, spec.name)


def _keep(
    tx: Tx, credentials: Credentials, role: Role, spec: SessionSpec, federated: Mapping[str, str], now: float
) -> None:
    """Keep a session, and forget those that have been over for a day."""
    tx.execute("DELETE FROM sessions WHERE expires_at < ?", (now - _KEPT_AFTER_EXPIRY,))
    tx.execute(
        "INSERT INTO sessions (access_key_id, secret, token_digest, role_arn, role_id, name, tags, transitive_keys,"
        " source_identity, federated, issued_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            credentials.access_key_id,
            credentials.secret_access_key.reveal(),
            credentials.session_token.digest(),
            str(role.arn),
            role.role_id,
            spec.name,
            _json(spec.tags),
            _json(sorted(spec.transitive_keys)),
            spec.source_identity,
            _json(federated),
            now,
            credentials.expires_at,
        ),
    )


def _refuse_packed(tags: Mapping[str, str]) -> None:
    percent = packed_percent(tags)
    if percent > 100:
        raise ServiceError(
            "PackedPolicyTooLarge", f"Packed size of session tags consumes {percent}% of allotted space."
        )


def packed_percent(tags: Mapping[str, str]) -> int:
    """Estimate how much of STS's space for packed tags these fill, in percent.

    AWS does not publish how it packs. This errs on the side of accepting: what is refused here is refused there.
    """
    return len(zlib.compress(_json(dict(tags)).encode())) * 100 // _PACKED_SPACE


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
