"""A page in the user's browser can reach 127.0.0.1: it must get nothing from the plane or the agent, on any path."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

import pytest

from integration.dev_plane import CLUSTER, DevPlane

PATHS = (
    ("GET", "/"),
    ("POST", "/"),
    ("GET", "/_rolecall/readyz"),
    ("GET", "/clusters"),
    ("POST", f"/clusters/{CLUSTER}/assume-role-for-pod-identity"),
    ("POST", f"/_rolecall/v1/clusters/{CLUSTER}/tokens"),
    ("GET", "/?Action=AssumeRoleWithWebIdentity&Version=2011-06-15"),
    ("OPTIONS", "/"),
    ("GET", "issuer"),
)
PAGES = {
    "another origin": ({"Origin": "https://evil.example"}, 403),
    "an origin of this machine": ({"Origin": "http://localhost:8080"}, 403),
    "a null origin": ({"Origin": "null"}, 403),
    "a cross-site fetch": ({"Sec-Fetch-Site": "cross-site"}, 403),
    "a same-site fetch": ({"Sec-Fetch-Site": "same-site"}, 403),
    "a same-origin fetch": ({"Sec-Fetch-Site": "same-origin"}, 403),
    "a rebound name": ({"Host": "evil.example"}, 421),
    "a rebound name with our port": ({"Host": "evil.example:4500"}, 421),
    "a name that begins as ours": ({"Host": "127.0.0.1.evil.example"}, 421),
}


def answer(url: str, method: str, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Return the answer to a request with exactly these headers, read to its end."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        response = connection.getresponse()
        response.read()
        return response
    finally:
        connection.close()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_gets_nothing_from_the_plane(stage: DevPlane, page: str) -> None:
    """The same refusal on every path, before anything is parsed, and never a CORS header."""
    headers, status = PAGES[page]
    issuer = urlsplit(stage.client("eks").describe_cluster(name=CLUSTER)["cluster"]["identity"]["oidc"]["issuer"]).path
    for method, path in PATHS:
        target = f"{issuer}/.well-known/openid-configuration" if path == "issuer" else path
        found = answer(stage.url, method, target, headers)
        assert found.status == status, (method, target)
        assert not [name for name, _ in found.getheaders() if name.lower().startswith("access-control")]


def test_the_same_paths_answer_others(stage: DevPlane) -> None:
    """The refusals above come from the headers: without them these paths say something else."""
    for method, path in PATHS[:-1]:
        assert answer(stage.url, method, path, {}).status not in (421,), (method, path)
    assert answer(stage.url, "GET", "/_rolecall/readyz", {}).status == 200


def test_a_rebound_name_gets_nothing_from_the_agent(stage: DevPlane) -> None:
    """Even with a good token, which a page does not have."""
    run = stage.run_as("demo-ns", "demo-sa", "sh", "-c", 'cat "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"')
    found = answer(stage.agent_url, "GET", "/v1/credentials", {"Host": "evil.example", "Authorization": run.stdout})
    assert found.status == 403


@pytest.mark.parametrize("page", PAGES)
def test_a_page_gets_nothing_from_the_metadata_service(stage: DevPlane, page: str) -> None:
    """Neither the node's credentials nor a token for them; a browser's own address bar may look."""
    headers, _ = PAGES[page]
    roles = "/latest/meta-data/iam/security-credentials/rolecall-node"
    for method, path in (("GET", roles), ("GET", "/latest/meta-data/"), ("PUT", "/latest/api/token"), ("OPTIONS", "/")):
        ttl = {"x-aws-ec2-metadata-token-ttl-seconds": "60"}
        found = answer(stage.imds_url, method, path, headers | ttl)
        assert found.status == 403, (method, path)
        assert not [name for name in found.headers if name.lower().startswith("access-control-")]
    assert answer(stage.imds_url, "GET", "/latest/meta-data/", {"Sec-Fetch-Site": "none"}).status == 200
