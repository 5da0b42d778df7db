"""What IAM keeps, as the rest of the plane reads it: roles, providers, policies in force, keys."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from rolecall.core.names import RoleArn
from rolecall.core.policy.document import Kind, Policy, parse_policy
from rolecall.core.policy.evaluate import NamedPolicy
from rolecall.core.secrets import Secret
from rolecall.daemons.local_aws import ids
from rolecall.daemons.local_aws.operations import World
from rolecall.edges.store.sqlite import Row, Tx
from rolecall.errors import Misconfigured

ADMINISTRATOR = "AdministratorAccess"
_ALLOW_ALL = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
_ALLOW_EKS_AUTH = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow",'
    '"Action":"eks-auth:AssumeRoleForPodIdentity","Resource":"*"}]}'
)


@dataclass(frozen=True, slots=True)
class Role:
    """A role. `trust` is its trust policy as it was given; `max_session` is in seconds."""

    arn: RoleArn
    role_id: str
    trust: str
    max_session: int
    tags: Mapping[str, str]
    description: str | None
    created_at: float


@dataclass(frozen=True, slots=True)
class Provider:
    """An OIDC provider. `url` is without its scheme, as IAM keeps it."""

    arn: str
    url: str
    client_ids: tuple[str, ...]
    thumbprints: tuple[str, ...]
    tags: Mapping[str, str]
    created_at: float


def find_role(tx: Tx, arn: RoleArn) -> Role | None:
    """Return the role with exactly this ARN: account, path and name."""
    row = tx.execute("SELECT * FROM roles WHERE arn = ?", (str(arn),)).fetchone()
    return None if row is None else _role(row)


def find_role_by_name(tx: Tx, name: str) -> Role | None:
    """Return a role by its name; names differ by more than case."""
    row = tx.execute("SELECT * FROM roles WHERE name = ?", (name,)).fetchone()
    return None if row is None else _role(row)


def roles_below(tx: Tx, path_prefix: str) -> list[Role]:
    """Return the roles whose path starts with a prefix, by name."""
    rows = tx.execute("SELECT * FROM roles WHERE substr(path, 1, ?) = ? ORDER BY name", (len(path_prefix), path_prefix))
    return [_role(row) for row in rows]


def trust_of(role: Role) -> Policy:
    """Return the parsed trust policy of a role."""
    return _parsed(role.trust, "trust")


def identity_policies(tx: Tx, owner: str) -> tuple[NamedPolicy, ...]:
    """Return the policies in force for ``role/NAME`` or ``user/NAME``: attached ones, then inline ones."""
    attached = tx.execute(
        "SELECT p.arn AS name, v.document FROM attachments a JOIN policies p ON p.arn = a.policy_arn"
        " JOIN policy_versions v ON v.arn = p.arn AND v.version = p.default_version WHERE a.owner = ? ORDER BY p.arn",
        (owner,),
    ).fetchall()
    inline = tx.execute("SELECT name, document FROM inline_policies WHERE owner = ? ORDER BY name", (owner,)).fetchall()
    return tuple(NamedPolicy(row["name"], _parsed(row["document"], "identity")) for row in (*attached, *inline))


def find_provider(tx: Tx, url: str) -> Provider | None:
    """Return the provider that is registered for an issuer URL, given without its scheme."""
    row = tx.execute("SELECT * FROM oidc_providers WHERE url = ?", (url,)).fetchone()
    return None if row is None else provider_of(row)


def provider_of(row: Row) -> Provider:
    """Return the provider in a row of ``oidc_providers``."""
    return Provider(
        arn=row["arn"],
        url=row["url"],
        client_ids=tuple(msgspec.json.decode(row["client_ids"])),
        thumbprints=tuple(msgspec.json.decode(row["thumbprints"])),
        tags=msgspec.json.decode(row["tags"]),
        created_at=row["created_at"],
    )


def active_key(tx: Tx, user: str) -> tuple[str, Secret]:
    """Return the newest active access key of a user: its id and its secret."""
    row = tx.execute(
        "SELECT id, secret FROM access_keys WHERE user = ? AND status = 'Active' ORDER BY created_at DESC, id LIMIT 1",
        (user,),
    ).fetchone()
    return row["id"], Secret(row["secret"])


def add_key(tx: Tx, user: str, now: float) -> tuple[str, Secret]:
    """Give a user a new active access key."""
    identifier, secret = ids.unique_id("AKIA"), ids.secret_key()
    tx.execute(
        "INSERT INTO access_keys (id, user, secret, status, created_at) VALUES (?, ?, ?, 'Active', ?)",
        (identifier, user, secret.reveal(), now),
    )
    return identifier, secret


def bootstrap(tx: Tx, world: World, now: float) -> None:
    """Make what a new account needs: AdministratorAccess, the users admin and node, a key for each.

    ``node`` may call EKS Auth and nothing else. Does nothing where that is there already. Raises `Misconfigured`
    for the state of another account or partition: its ARNs would be mixed with the new ones.
    """
    if not _claimed(tx, world):
        return
    arn = f"arn:{world.partition}:iam::aws:policy/{ADMINISTRATOR}"
    tx.execute(
        "INSERT INTO policies (arn, name, path, policy_id, description, default_version, last_version, tags,"
        " created_at, updated_at) VALUES (?, ?, '/', ?, 'Provides full access to AWS services and resources.',"
        " 1, 1, '{}', ?, ?)",
        (arn, ADMINISTRATOR, ids.unique_id("ANPA"), now, now),
    )
    tx.execute(
        "INSERT INTO policy_versions (arn, version, document, created_at) VALUES (?, 1, ?, ?)",
        (arn, _ALLOW_ALL, now),
    )
    for name in ("admin", "node"):
        tx.execute(
            "INSERT INTO users (name, user_id, arn, created_at) VALUES (?, ?, ?, ?)",
            (name, ids.unique_id("AIDA"), world.iam_arn(f"user/{name}"), now),
        )
        add_key(tx, name, now)
    tx.execute("INSERT INTO attachments (owner, policy_arn, attached_at) VALUES ('user/admin', ?, ?)", (arn, now))
    tx.execute(
        "INSERT INTO inline_policies (owner, name, document) VALUES ('user/node', 'eks-auth', ?)",
        (_ALLOW_EKS_AUTH,),
    )


def _claimed(tx: Tx, world: World) -> bool:
    """Say whether the state is new, and keep whose it is from now on."""
    wanted = {"account": str(world.account), "partition": str(world.partition)}
    kept = {row["key"]: row["value"] for row in tx.execute("SELECT key, value FROM plane")}
    for key, value in wanted.items():
        if kept.get(key, value) != value:
            raise Misconfigured(
                f"this state belongs to {key} {kept[key]}, and the plane was to be started for {value}",
                hint="start it with the same --account-id and --region as before, or choose another --state-dir",
            )
        tx.execute("INSERT INTO plane (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (key, value))
    return tx.execute("SELECT 1 FROM users").fetchone() is None


def _role(row: Row) -> Role:
    return Role(
        arn=RoleArn.parse(row["arn"]),
        role_id=row["role_id"],
        trust=row["trust"],
        max_session=row["max_session"],
        tags=msgspec.json.decode(row["tags"]),
        description=row["description"],
        created_at=row["created_at"],
    )


@functools.lru_cache(maxsize=512)
def _parsed(document: str, kind: Kind) -> Policy:
    return parse_policy(document, kind)
