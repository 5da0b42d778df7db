"""Unmodified SDKs get credentials from the agent at its real address, and its errors make them do as documented."""

from __future__ import annotations

import re
import time

import pytest

from integration.dev_plane import wait_until
from sdks.conftest import Node
from sdks.namespace import V4, V6
from sdks.street import key_of
from sdks.table import SDKS

pytestmark = pytest.mark.timeout(900)  # the first run builds the clients
each = pytest.mark.parametrize("name", SDKS)
CODES = {
    401: "UnrecognizedClientException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
}
AS_OURS = 500
"""What the agent answers where upstream does not believe the agent: that is no fault of a pod's (decision 20)."""
CRT = SDKS["awscrt"].command


@each
def test_it_gets_the_key_of_its_token_with_one_request(node: Node, name: str) -> None:
    """The default chain finds the agent by the variables that EKS sets."""
    client, before = node.client(name, SDKS[name].command), node.replies
    token = client.give()
    assert client.load() == {"key": key_of(token)}
    assert node.replies_since(before) == {200: 1}


@each
def test_it_reads_the_token_file_again(node: Node, name: str) -> None:
    """Credentials that are over are replaced by those of the token that is in the file then (sdk-clients.md §1.4)."""
    client = node.client(name, SDKS[name].command)
    first = client.give(life=3)
    assert client.load() == {"key": key_of(first)}
    ends = time.time() + 3
    second = client.give()
    time.sleep(max(0.0, ends - time.time()))
    assert client.again() == {"key": key_of(second)}


@each
@pytest.mark.parametrize("status", CODES)
def test_an_error_is_retried_as_documented(node: Node, name: str, status: int) -> None:
    """So many requests, each answered with the upstream's status, then the SDK's own error.

    401 is about the agent, which says so with 500: then an SDK that would give up asks again, until the key is mended.
    """
    sdk = SDKS[name]
    client, before = node.client(name, sdk.command), node.replies
    client.give(status, CODES[status])
    answer = client.load()
    seen = AS_OURS if status == 401 else status
    assert node.replies_since(before) == {seen: sdk.attempts[seen] * sdk.calls}, answer
    assert answer.keys() == {"error"}
    assert re.search(sdk.error, str(answer["error"]))
    assert (f"[id-of-request]: ({CODES[status]}): as asked" in str(answer["error"])) == sdk.shows, answer


@each
def test_429_with_retry_after(node: Node, name: str) -> None:
    """Who comes again after 429 gets the key then; who heeds Retry-After waits that second."""
    sdk = SDKS[name]
    client = node.client(name, sdk.command, f"http://{V4}:81/v1/credentials")
    token = client.give()
    answer = client.load()
    waited = node.street.ask(f"waited {token}")["waited"]
    if sdk.waits is None:
        assert (answer.keys(), waited) == ({"error"}, None)
    else:
        assert answer == {"key": key_of(token)}
        assert isinstance(waited, float)
        assert waited > 0.9 or not sdk.waits  # unasked it waits 0.1 to 0.3 s; timers may be a moment early


@each
def test_ipv6(node: Node, name: str) -> None:
    """fd00:ec2::23 serves those that allow it; the others ask nobody (sdk-clients.md §1.2)."""
    if not node.namespace.has_ipv6:
        pytest.skip("needs IPv6")
    sdk, url = SDKS[name], f"http://[{V6}]/v1/credentials"
    before = node.replies
    if sdk.ipv6_needs or not sdk.ipv6:
        client = node.client(name, sdk.command, url)
        client.give()
        assert client.load().keys() == {"error"}
        assert node.replies_since(before) == {}
    if sdk.ipv6:
        client = node.client(name, sdk.command, url, **sdk.ipv6_needs)
        token = client.give()
        assert client.load() == {"key": key_of(token)}
        assert node.replies_since(before) == {200: 1}


def test_awscrt_over_tls_with_a_private_authority(node: Node) -> None:
    """The node's trusted authorities decide: with one the key, with the other's certificate not a request."""
    before = node.replies
    client = node.client("awscrt", CRT, f"https://{V4}/v1/credentials")
    token = client.give()
    assert client.load() == {"key": key_of(token)}
    assert node.replies_since(before) == {200: 1}
    client = node.client("awscrt", CRT, f"https://{V4}:444/v1/credentials")
    client.give()
    client.program.say("load")  # its answer would take minutes: it waits 10 to 30 s before it tries again
    refused = "negotiation failed with error Certificate is untrusted"
    wait_until(lambda: refused in client.program.complaints.read_text(), "the client to refuse the certificate")
    assert node.replies_since(before) == {200: 1}
