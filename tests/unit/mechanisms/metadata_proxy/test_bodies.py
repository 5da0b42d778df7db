"""What each proxy writes: credentials, failures, callers that are nobody."""

from __future__ import annotations

import json

import pytest

from rolecall.core.credentials import Credentials
from rolecall.core.grant import Refusal
from rolecall.core.names import AccountId
from rolecall.core.secrets import Secret
from rolecall.core.source import Issued
from rolecall.errors import Upstream, UpstreamAnswered
from rolecall.mechanisms.imds.door import Asked
from rolecall.mechanisms.metadata_proxy.deny import DenyDialect
from rolecall.mechanisms.metadata_proxy.dialect import Dialect
from rolecall.mechanisms.metadata_proxy.kiam import KiamDialect
from rolecall.mechanisms.metadata_proxy.kube2iam import Kube2iamDialect
from rolecall.mechanisms.metadata_proxy.metadataproxy import MetadataproxyDialect
from rolecall.mechanisms.metadata_proxy.settings import Kiam, Kube2iam, Metadataproxy

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
ISSUED = Issued(
    Credentials("ASIAAAAAAAAAAAAAAAAA", Secret("s/+"), Secret("t<&="), NOW + 7200, AccountId("123456789012")),
    "arn:aws:sts::123456789012:assumed-role/r/devproxyauth",
    "AROAAAAAAAAAAAAAAAAAA:devproxyauth",
)
KUBE2IAM, KIAM, CONTAINER = (
    Kube2iamDialect(Kube2iam()), KiamDialect(Kiam()), MetadataproxyDialect(Metadataproxy())
)  # fmt: skip
LIST, ASKS = Asked("listing", "/x", slash=True), Asked("credentials", "/x", role="r")


def test_kube2iam_credentials() -> None:
    """Members in the order of their names, one line, Go's escapes, the sniffed type, EC2's server (§5.3)."""
    reply = KUBE2IAM.render(ASKS, ISSUED, NOW)
    assert reply.body.decode() == (
        '{"AccessKeyId":"ASIAAAAAAAAAAAAAAAAA","Code":"Success","Expiration":"2026-01-01T02:00:00Z",'
        '"LastUpdated":"2026-01-01T00:00:00Z","SecretAccessKey":"s/+","Token":"t\\u003c\\u0026=","Type":"AWS-HMAC"}\n'
    )
    assert dict(reply.headers) == {
        "content-type": "text/plain; charset=utf-8",
        "server": "EC2ws",
        "cache-control": "no-store",
    }


def test_kiam_credentials() -> None:
    """Members in kiam's order (§4.4)."""
    reply = KIAM.render(ASKS, ISSUED, NOW)
    assert [*json.loads(reply.body)] == [
        "Code", "Type", "AccessKeyId", "SecretAccessKey", "Token", "Expiration", "LastUpdated"
    ]  # fmt: skip
    assert reply.body.endswith(b"}\n")
    assert json.loads(reply.body)["LastUpdated"] == "2026-01-01T00:00:00Z"


def test_metadataproxy_documents() -> None:
    """Sorted; updated an hour before the end; iam/info is the session (§3.4)."""
    reply = CONTAINER.render(ASKS, ISSUED, NOW)
    found = json.loads(reply.body)
    assert [*found] == sorted(found)
    assert (found["LastUpdated"], found["Expiration"]) == ("2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z")
    assert dict(reply.headers)["content-type"] == "application/json"
    assert json.loads(CONTAINER.render(Asked("info", "/x"), ISSUED, NOW).body) == {
        "Code": "Success",
        "LastUpdated": "2026-01-01T01:00:00Z",
        "InstanceProfileArn": ISSUED.assumed_role_arn,
        "InstanceProfileId": ISSUED.assumed_role_id,
    }


@pytest.mark.parametrize(
    ("dialect", "asked", "reason", "status", "text"),
    [
        (KUBE2IAM, ASKS, "no-pod", 404, 'pod with specificed IP "10.0.0.9" not found\n'),
        (KUBE2IAM, LIST, "host-network", 404, 'pod with specificed IP "10.0.0.9" not found\n'),
        (KUBE2IAM, LIST, "shared-address", 404, "2 pods ([a b]) with the ip 10.0.0.9 indexed\n"),
        (KIAM, LIST, "no-pod", 500, "rpc error: code = Unknown desc = pod not found\n"),
        (KIAM, ASKS, "no-pod", 500, "error fetching credentials: no pod found\n"),
        (KIAM, ASKS, "host-network", 500, "error fetching credentials: no pod found\n"),
        (
            KIAM, ASKS, "shared-address", 500,
            "error fetching credentials: rpc error: code = Unknown desc = multiple running pods found\n",
        ),
        (CONTAINER, LIST, "no-container", 404, ""),
        (CONTAINER, ASKS, "shared-address", 404, ""),
    ],
)  # fmt: skip
def test_nobody(dialect: Dialect, asked: Asked, reason: str, status: int, text: str) -> None:
    """A caller that is nobody, in each proxy's words (§3.4, §4.4, §5.3)."""
    reply = dialect.render_refusal(asked, "10.0.0.9", Refusal(reason, "for the operator", because=("a", "b")))
    assert (reply.status, reply.body.decode(), reply.reason) == (status, text, reason)


DENIED = UpstreamAnswered(status=403, code="AccessDenied", message="not authorized")


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        (KUBE2IAM, "AccessDenied: not authorized\n"),
        (KIAM, "error fetching credentials: rpc error: code = Unknown desc = AccessDenied: not authorized\n"),
        (CONTAINER, "AccessDenied: not authorized\n"),
    ],
)
def test_aws_says_no(dialect: Dialect, text: str) -> None:
    """500 with what AWS said, as text (§4.4, §5.3)."""
    reply = dialect.render_error(ASKS, DENIED)
    assert (reply.status, reply.body.decode()) == (500, text)
    assert dict(reply.headers)["x-content-type-options"] == "nosniff"
    assert dialect.render_error(ASKS, Upstream("no answer")).status == 500


def test_deny_has_no_role() -> None:
    """An instance without a role answers 404, whatever is asked and whatever a program has wired wrongly."""
    deny = DenyDialect()
    assert deny.local(LIST).status == deny.local(ASKS).status == 404  # type: ignore[union-attr]
    assert deny.render(ASKS, ISSUED, NOW).status == 404
    assert b"ASIA" not in deny.render(ASKS, ISSUED, NOW).body
    assert deny.local(Asked("document", "/x", document="meta-data/placement/region")) is None
