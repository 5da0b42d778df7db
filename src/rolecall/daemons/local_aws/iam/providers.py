"""OIDC providers: issuers whose tokens this account's roles may trust."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

import msgspec

from rolecall.daemons.local_aws.iam.records import Provider, find_provider, provider_of
from rolecall.daemons.local_aws.iam.tags import read_tags, show_tags
from rolecall.daemons.local_aws.operations import Answer, Call, Operation, Operations, Target
from rolecall.edges.sockets import is_loopback
from rolecall.edges.store.sqlite import Tx
from rolecall.errors import ServiceError

MOST_PROVIDERS = 100
MOST_CLIENT_IDS = 100
LONGEST_URL = 255
_PRINTABLE = re.compile("[!-~]+")


def _target(_tx: Tx, call: Call) -> Target:
    arn = call.params["OpenIDConnectProviderArn"]
    return Target(arn, arn)


def _new(_tx: Tx, call: Call) -> Target:
    arn = call.world.iam_arn(f"oidc-provider/{call.params['Url'].partition('://')[2]}")
    return Target(arn, arn)


def _all(_tx: Tx, call: Call) -> Target:
    arn = call.world.iam_arn("oidc-provider/*")
    return Target(arn, arn)


def checked_url(url: str) -> str:
    """Return an issuer URL without its scheme, and otherwise as it is; raises `ServiceError` InvalidInput.

    https, or http on this machine; no query, fragment or user (IAM User Guide, "Create an OIDC provider"). A slash
    at its end stays: tokens must name the issuer byte for byte.
    """
    parts = _parts(url)
    plain = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if (parts.scheme != "https" and not plain) or not parts.hostname or len(url) > LONGEST_URL:
        raise ServiceError("InvalidInput", "Invalid Open ID Connect Provider URL: it begins with https://")
    if parts.query or parts.fragment or "@" in parts.netloc or url.endswith("?"):
        raise ServiceError("InvalidInput", "Invalid Open ID Connect Provider URL: no query, fragment or user name")
    return url.partition("://")[2]


def _parts(url: str) -> SplitResult:
    try:
        if not _PRINTABLE.fullmatch(url):
            raise ValueError
        parts = urlsplit(url)
        parts.port  # noqa: B018  (raises for what is no port)
    except ValueError:
        raise ServiceError("InvalidInput", "Invalid Open ID Connect Provider URL: it is not a URL") from None
    return parts


def _existing(tx: Tx, call: Call) -> Provider:
    arn = call.params["OpenIDConnectProviderArn"]
    row = tx.execute("SELECT * FROM oidc_providers WHERE arn = ?", (arn,)).fetchone()
    if row is None:
        raise ServiceError("NoSuchEntity", f"OpenIDConnect Provider not found for arn {arn}", status=404)
    return provider_of(row)


def _create(tx: Tx, call: Call) -> Answer:
    params = call.params
    url = checked_url(params["Url"])
    if find_provider(tx, url) is not None:
        raise ServiceError("EntityAlreadyExists", f"Provider with url {params['Url']} already exists.", status=409)
    (count,) = tx.execute("SELECT count(*) FROM oidc_providers").fetchone()
    if count >= MOST_PROVIDERS:
        raise ServiceError(
            "LimitExceeded",
            f"Cannot exceed quota for OpenIdConnectProvidersPerAccount: {MOST_PROVIDERS}",
            status=409,
        )
    arn = call.world.iam_arn(f"oidc-provider/{url}")
    tags = read_tags(params.get("Tags", ()))
    _insert(
        tx,
        Provider(
            arn,
            url,
            _client_ids(params.get("ClientIDList", ())),
            tuple(params.get("ThumbprintList", ())),
            tags,
            call.now,
        ),
    )
    return {"OpenIDConnectProviderArn": arn, "Tags": show_tags(tags)}


def _insert(tx: Tx, provider: Provider) -> None:
    lists = (provider.client_ids, provider.thumbprints, provider.tags)
    tx.execute(
        "INSERT INTO oidc_providers (arn, url, client_ids, thumbprints, tags, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        (
            provider.arn,
            provider.url,
            *(msgspec.json.encode(each).decode() for each in lists),
            provider.created_at,
        ),
    )


def _client_ids(given: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(given))
    if len(found) > MOST_CLIENT_IDS:
        raise ServiceError(
            "LimitExceeded",
            f"Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: {MOST_CLIENT_IDS}",
            status=409,
        )
    return found


def _get(tx: Tx, call: Call) -> Answer:
    provider = _existing(tx, call)
    return {
        "Url": provider.url,
        "ClientIDList": provider.client_ids,
        "ThumbprintList": provider.thumbprints,
        "CreateDate": provider.created_at,
        "Tags": show_tags(provider.tags),
    }


def _list(tx: Tx, call: Call) -> Answer:
    rows = tx.execute("SELECT arn FROM oidc_providers ORDER BY arn").fetchall()
    return {"OpenIDConnectProviderList": [{"Arn": row["arn"]} for row in rows]}


def _delete(tx: Tx, call: Call) -> Answer:
    provider = _existing(tx, call)
    tx.execute("DELETE FROM oidc_providers WHERE arn = ?", (provider.arn,))
    return {}


def _keep_client_ids(tx: Tx, provider: Provider, client_ids: tuple[str, ...]) -> Answer:
    text = msgspec.json.encode(client_ids).decode()
    tx.execute("UPDATE oidc_providers SET client_ids = ? WHERE arn = ?", (text, provider.arn))
    return {}


def _add_client_id(tx: Tx, call: Call) -> Answer:
    provider = _existing(tx, call)
    return _keep_client_ids(tx, provider, _client_ids((*provider.client_ids, call.params["ClientID"])))


def _remove_client_id(tx: Tx, call: Call) -> Answer:
    provider = _existing(tx, call)
    kept = tuple(one for one in provider.client_ids if one != call.params["ClientID"])
    return _keep_client_ids(tx, provider, kept)


_NAME = "OpenIDConnectProvider"
OPERATIONS: Operations = {
    f"Create{_NAME}": Operation(f"iam:Create{_NAME}", _new, act=_create),
    f"Get{_NAME}": Operation(f"iam:Get{_NAME}", _target, act=_get),
    f"List{_NAME}s": Operation(f"iam:List{_NAME}s", _all, act=_list),
    f"Delete{_NAME}": Operation(f"iam:Delete{_NAME}", _target, act=_delete),
    f"AddClientIDTo{_NAME}": Operation(f"iam:AddClientIDTo{_NAME}", _target, act=_add_client_id),
    f"RemoveClientIDFrom{_NAME}": Operation(f"iam:RemoveClientIDFrom{_NAME}", _target, act=_remove_client_id),
}
