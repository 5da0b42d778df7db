"""IMDS, a container's provider and STS as servers on this machine: good, away, slow, huge, and talking nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from botocore.utils import InstanceMetadataFetcher

from integration.edges.loopback import Page, Server, answer
from integration.imds_server import ROLES, TOKEN_PATH, Instance, instance
from rolecall.daemons.agent.region import region_of_instance
from rolecall.edges.aws.container import FULL, TOKEN, TOKEN_FILE, ContainerCredentials
from rolecall.edges.aws.imds import Imds
from rolecall.edges.aws.node_credentials import Lease
from rolecall.edges.aws.web_identity import WebIdentity
from rolecall.edges.http_client import HttpClient
from rolecall.errors import Misconfigured, RolecallError

ROLE = "arn:aws:iam::123456789012:role/node"
KEYS = b'{"AccessKeyId":"ASIACONTAINER","SecretAccessKey":"secret","Token":"token","Expiration":"2099-01-01T00:00:00Z"}'
STS = b"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIASTS</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>
<SessionToken>token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
ERROR = b"""<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>%s</Code><Message>%s</Message></Error><RequestId>1</RequestId></ErrorResponse>"""
TOKEN_TEXT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJub2RlIn0xxxxxxxx.c2lnbmF0dXJlc2lnbmF0dXJl"


@pytest.fixture
def ec2() -> Iterator[Instance]:
    """An instance whose role has credentials."""
    with instance() as found:
        found.issue("ASIAIMDS", expires="2099-01-01T00:00:00Z")
        yield found


def fetch(source: Callable[[HttpClient], Awaitable[Lease]]) -> Lease | RolecallError:
    """Return what a source brings: credentials, or its error."""

    async def run() -> Lease | RolecallError:
        http = HttpClient(at_once=2, waiting=2)
        try:
            return await source(http)
        except RolecallError as failure:
            return failure
        finally:
            http.close()

    return asyncio.run(run())


def of_imds(found: Instance) -> Lease | RolecallError:
    """Ask for the role's credentials."""
    return fetch(lambda http: Imds(found.url, http).credentials())


def told(outcome: Lease | RolecallError) -> str:
    """Return the sentence of what must be an error."""
    assert isinstance(outcome, RolecallError)
    assert "secret" not in outcome.message + outcome.hint
    return f"{outcome.message} / {outcome.hint}"


def test_the_nodes_role(ec2: Instance) -> None:
    """Three questions, the first by PUT, each of the others with the token that it brought; botocore asks the same."""
    lease = of_imds(ec2)
    assert isinstance(lease, Lease)
    assert (lease.key.access_key_id, lease.expires_at) == ("ASIAIMDS", 4_070_908_800)
    assert ec2.asked == [("PUT", TOKEN_PATH), ("GET", ROLES), ("GET", ROLES + "node")]
    del ec2.asked[:]
    theirs = InstanceMetadataFetcher(base_url=ec2.url, config={"ec2_metadata_v1_disabled": True})
    assert theirs.retrieve_iam_role_credentials()["access_key"] == "ASIAIMDS"
    assert ec2.asked == [("PUT", TOKEN_PATH), ("GET", ROLES), ("GET", ROLES + "node")]


@pytest.mark.parametrize(
    ("path", "status", "body", "sentence"),
    [
        (TOKEN_PATH, 403, b"", "gave no session token (HTTP status 403) / the instance's metadata service"),
        (TOKEN_PATH, 404, b"", "knows no IMDSv2; IMDSv1 is never used"),
        (TOKEN_PATH, 405, b"", "knows no IMDSv2; IMDSv1 is never used"),
        (TOKEN_PATH, 500, b"", "gave no session token (HTTP status 500)"),
        (TOKEN_PATH, 200, b"", "gave no session token"),
        (TOKEN_PATH, 200, b"a\r\nx: y", "gave no session token"),
        (TOKEN_PATH, 200, b"x" * 20_000, "longer than allowed"),
        (ROLES, 404, b"", "this instance has no role"),
        (ROLES, 200, b"", "this instance has no role"),
        (ROLES, 401, b"", "HTTP status 401"),
        (ROLES, 302, b"", "HTTP status 302"),
        (ROLES, 200, b"../../user-data", "named a role that is none"),
        (ROLES, 200, b"<html>", "named a role that is none"),
        (ROLES + "node", 404, b"", "HTTP status 404"),
        (ROLES + "node", 503, b"", "HTTP status 503"),
        (ROLES + "node", 200, b"secret", "something that is not credentials"),
        (ROLES + "node", 200, b"x" * 20_000, "longer than allowed"),
        (ROLES + "node", 200, b'{"Code":"Failed"}', "its code is Failed"),
    ],
)  # fmt: skip
def test_imds_that_is_not_well(ec2: Instance, path: str, status: int, body: bytes, sentence: str) -> None:
    """What is wrong and what to do; and nobody is ever asked without a token."""
    ec2.answers[path] = (status, body, 0.0)
    assert sentence in told(of_imds(ec2))
    if path == TOKEN_PATH:
        assert ec2.asked == [("PUT", TOKEN_PATH)]


def test_imds_that_is_slow_or_away(ec2: Instance) -> None:
    """A second for each question: a token that never comes is the hop limit, most of the time."""
    ec2.answers[TOKEN_PATH] = (200, b"late", 3.0)
    assert "did not answer in time (timeout) / use the host's network, or let" in told(of_imds(ec2))
    ec2.url = "http://127.0.0.1:1"
    assert "refused" in told(of_imds(ec2))


def test_the_region(ec2: Instance) -> None:
    """Of the instance; where it cannot be known, the start says how to set it."""
    ec2.region = "eu-central-1"
    env = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": ec2.url + "/"}
    assert region_of_instance(env) == "eu-central-1"
    for region in ("", "Mars", "eu-central-1a"):
        ec2.region = region
        with pytest.raises(Misconfigured, match="region is not known") as refused:
            region_of_instance(env)
        assert "AWS_REGION" in refused.value.hint
    with pytest.raises(Misconfigured, match="AWS_EC2_METADATA_DISABLED"):
        region_of_instance(env | {"AWS_EC2_METADATA_DISABLED": "true"})


def served(page: Page, ask: Callable[[HttpClient, str], Awaitable[Lease]]) -> tuple[Lease | RolecallError, Server]:
    """Serve a page at /creds and at /, and return what a source makes of it."""
    server = Server()
    server.pages |= {"/creds": page, "/": page}

    async def run() -> Lease | RolecallError:
        await server.start()
        http = HttpClient(at_once=2, waiting=2)
        try:
            return await ask(http, f"http://127.0.0.1:{server.port}")
        except RolecallError as failure:
            return failure
        finally:
            http.close()
            await server.stop()

    return asyncio.run(run()), server


def of_container(page: Page, **env: str) -> tuple[Lease | RolecallError, Server]:
    """Ask a container's provider."""
    return served(page, lambda http, url: ContainerCredentials({FULL: f"{url}/creds", **env}, http).fetch())


def header(server: Server, name: str) -> str | None:
    """Return a header of the last request."""
    lines = [line.partition(": ") for line in server.heads[-1].split("\r\n")]
    return next((value for key, _, value in lines if key.lower() == name), None)


def test_a_containers_provider(tmp_path: Path) -> None:
    """The token as it is in the file now, without a prefix; the file's before the variable's; none where none is."""
    file = tmp_path / "token"
    for content, sent in (("one\n", "one"), (" Bearer two ", "Bearer two")):
        file.write_text(content)
        lease, server = of_container(answer(KEYS), **{TOKEN_FILE: str(file), TOKEN: "variable"})
        assert isinstance(lease, Lease)
        assert lease.key.access_key_id == "ASIACONTAINER"
        assert header(server, "authorization") == sent
    assert header(of_container(answer(KEYS), **{TOKEN: "variable"})[1], "authorization") == "variable"
    assert header(of_container(answer(KEYS))[1], "authorization") is None


@pytest.mark.parametrize(
    ("page", "env", "sentence"),
    [
        (answer(b"secret", "404 Not Found"), {}, "HTTP status 404"),
        (answer(b"", "301 Moved", "Location: http://127.0.0.1:1/"), {}, "HTTP status 301"),
        (answer(b"", "500 Oops"), {}, "HTTP status 500"),
        (answer(b"secret"), {}, "not credentials"),
        (answer(KEYS[:-9]), {}, "not credentials"),
        (answer(b" " * 70_000 + KEYS), {}, "longer than allowed"),
        (answer(KEYS)[:-9], {}, "closed the connection"),
        (b"secret\r\n\r\n", {}, "did not answer in HTTP"),
        (b"", {}, "closed the connection"),
        (answer(KEYS), {TOKEN: "a\r\nx: y"}, "'authorization' holds a character"),
        (answer(KEYS), {TOKEN_FILE: "/nonexistent"}, "the token file /nonexistent cannot be read: No such file"),
        (answer(KEYS), {TOKEN_FILE: "/dev/null"}, "the token file /dev/null holds no token"),
        (answer(KEYS), {TOKEN_FILE: "/dev/zero"}, "the token file /dev/zero holds no token"),
    ],
)  # fmt: skip
def test_a_container_that_is_not_well(page: Page, env: dict[str, str], sentence: str) -> None:
    """Named, not quoted; a redirect leads nowhere."""
    assert sentence in told(of_container(page, **env)[0])


def of_sts(page: Page, file: Path) -> tuple[Lease | RolecallError, Server]:
    """Ask STS."""
    return served(
        page,
        lambda http, url: WebIdentity(
            role_arn=ROLE, token_file=file, session_name="rolecall-agent", endpoint=url, http=http
        ).fetch(),
    )


def test_a_web_identity(tmp_path: Path) -> None:
    """A POST that is not signed, with the token as it is now."""
    file = tmp_path / "token"
    file.write_text(TOKEN_TEXT + "\n")
    lease, server = of_sts(answer(STS), file)
    assert isinstance(lease, Lease)
    assert (lease.key.access_key_id, lease.expires_at) == ("ASIASTS", 4_070_908_800)
    assert server.heads[0].startswith("POST / HTTP/1.1\r\n")
    assert header(server, "authorization") is None
    assert (header(server, "content-type") or "").startswith("application/x-www-form-urlencoded")


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        (answer(ERROR % (b"AccessDenied", b"Not you"), "403 Forbidden"), f"{ROLE}: AccessDenied: Not you / check"),
        (answer(ERROR % (b"ExpiredTokenException", b"over"), "400 Bad"), ": ExpiredTokenException: over / check"),
        (answer(ERROR % (b"InvalidIdentityToken", TOKEN_TEXT.encode()), "400 Bad"), ": InvalidIdentityToken / "),
        (answer(b"<html>secret</html>", "502 Bad"), ": HTTP 502 / "),
        (answer(STS[:-20]), "not credentials"),
        (answer(b"<!DOCTYPE a>" + STS), "not credentials"),
        (answer(STS + b" " * 70_000), "longer than allowed"),
    ],
    ids=["denied", "expired", "quotes the token", "html", "truncated", "doctype", "huge"],
)  # fmt: skip
def test_sts_that_says_no(tmp_path: Path, page: Page, sentence: str) -> None:
    """Its own code and message, but for a message that quotes the token."""
    file = tmp_path / "token"
    file.write_text(TOKEN_TEXT)
    said = told(of_sts(page, file)[0])
    assert sentence in said
    assert TOKEN_TEXT[-20:] not in said


def test_no_token_no_question(tmp_path: Path) -> None:
    """Nothing is sent; one longer than STS takes is none either."""
    file = tmp_path / "token"
    for content in (None, "", "x" * 20_001):
        if content is not None:
            file.write_text(content)
        outcome, server = of_sts(answer(STS), file)
        assert f"the token file {file}" in told(outcome)
        assert server.heads == []
