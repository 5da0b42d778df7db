"""Generation 0: the node's role, when asked for by name, and never otherwise."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime

import pytest

from rolecall.core.credentials import Credentials
from rolecall.core.exchange import Reply, Request
from rolecall.core.grant import Grant, Refusal
from rolecall.core.injection import Place
from rolecall.core.names import AccountId, Region, RoleArn
from rolecall.core.secrets import Secret
from rolecall.core.source import Issued
from rolecall.errors import Refused, Upstream
from rolecall.mechanisms.host_role import door
from rolecall.mechanisms.host_role.decide import Facts, decide
from rolecall.mechanisms.host_role.identify import identify
from rolecall.mechanisms.host_role.inject import environment
from rolecall.mechanisms.host_role.issue import issue
from rolecall.mechanisms.imds.documents import PRESETS
from rolecall.mechanisms.imds.door import Asked, Gate

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
ROLE = RoleArn.parse("arn:aws:iam::123456789012:role/nodes/node-role")
LIST = Asked("listing", "/latest/meta-data/iam/security-credentials/")
CREDENTIALS = Credentials("ASIAAAAAAAAAAAAAAAAA", Secret("s"), Secret("t"), NOW + 21_600.5, AccountId("123456789012"))
ISSUED = Issued(CREDENTIALS, ROLE.session("i-0abc"), "AROAAAAAAAAAAAAAAAAAA:i-0abc")


def facts(*, by_name: bool = True, role: RoleArn | None = ROLE) -> Facts:
    """Return what is known of a node."""
    return Facts(identify("node-1"), by_name, role, "i-0abc")


def test_nobody_gets_the_nodes_role_by_default() -> None:
    """It has to be asked for by name, whatever else is known."""
    got = decide(LIST, facts(by_name=False))
    assert isinstance(got, Refusal)
    assert got.reason == "host-role-off"


def test_asked_for_by_name_it_is_everybodys() -> None:
    """And the grant says why that was left behind."""
    got = decide(Asked("credentials", "", role="node-role"), facts())
    assert isinstance(got, Grant)
    assert got.role == ROLE
    assert "every pod on node-1" in got.because[0]


@pytest.mark.parametrize("role", ["other", "nodes/node-role", "node-role/", "node-role/extra", "", str(ROLE)])
def test_the_node_has_one_role(role: str) -> None:
    """IMDS knows it by its name alone."""
    got = decide(Asked("credentials", "", role=role), facts())
    assert isinstance(got, Refusal)
    assert got.reason == "other-role"
    assert door.render_error(Refused(got)).status == 404


def test_a_node_without_a_role() -> None:
    """EC2 answers 404 to the listing."""
    got = decide(LIST, facts(role=None))
    assert isinstance(got, Refusal)
    assert door.render_error(Refused(got)).status == 404


def test_the_document_is_the_services() -> None:
    """Spelled as EC2 prints it: order, spaces around the colon, text/plain (EC2 User Guide)."""
    reply = door.render(Asked("credentials", ""), ISSUED, role="node-role", now=NOW)
    assert reply.body.decode() == (
        '{\n  "Code" : "Success",\n  "LastUpdated" : "2026-01-01T00:00:00Z",\n  "Type" : "AWS-HMAC",\n'
        '  "AccessKeyId" : "ASIAAAAAAAAAAAAAAAAA",\n  "SecretAccessKey" : "s",\n  "Token" : "t",\n'
        '  "Expiration" : "2026-01-01T06:00:00Z"\n}'
    )
    assert dict(reply.headers)["content-type"] == "text/plain"
    assert dict(reply.headers)["cache-control"] == "no-store"


def test_botocore_reads_it() -> None:
    """The fields and the time's form that botocore's fetcher wants."""
    found = json.loads(door.render(Asked("credentials", ""), ISSUED, role="node-role", now=NOW).body)
    assert {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"} <= {*found}
    assert datetime.strptime(found["Expiration"], "%Y-%m-%dT%H:%M:%SZ").year == 2026


def test_listing_and_info() -> None:
    """The name alone, without a newline; and what the session is."""
    assert door.render(LIST, ISSUED, role="node-role", now=NOW).body == b"node-role"
    info = json.loads(door.render(Asked("info", ""), ISSUED, role="node-role", now=NOW).body)
    assert info["Code"] == "Success"
    assert info["InstanceProfileId"] == ISSUED.assumed_role_id


def test_what_is_not_on_the_list_is_not_there() -> None:
    """User data of a node often holds what makes it a node."""
    for target in ("/latest/user-data", "/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance"):
        request = Request("GET", target, (("host", "169.254.169.254"),))
        got = door.parse(request, Gate(Secret("k"), "x"), allowed=PRESETS["legacy-read"], now=NOW)
        assert isinstance(got, Reply)
        assert got.status == 404


def test_failures_are_the_services_pages() -> None:
    """A node whose own service does not answer is a server's error: SDKs try again."""
    assert door.render_error(Upstream("no answer")).status == 500
    assert door.render_error(Refused(Refusal("host-role-off", "no"))).status == 403


def test_it_is_only_fetched() -> None:
    """Nobody is asked to issue anything; nobody is named as the holder."""

    async def fetch(role: RoleArn) -> Issued:
        assert role == ROLE
        return ISSUED

    decision = decide(LIST, facts())
    assert isinstance(decision, Grant)
    assert asyncio.run(issue(decision, fetch)).subject is None


def test_a_program_finds_the_door() -> None:
    """By a variable where 169.254.169.254 does not lead to it."""
    place = Place(Region("us-west-2"), sts_regional=False)
    assert environment(place, endpoint=None) == (("AWS_DEFAULT_REGION", "us-west-2"), ("AWS_REGION", "us-west-2"))
    assert environment(place, endpoint="http://127.0.0.1:8181")[-1] == (
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "http://127.0.0.1:8181",
    )
