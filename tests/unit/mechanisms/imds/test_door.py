"""The metadata service's door. tests/corpus/imds: one file is one case, expected by the source that it names."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall.core.exchange import Reply, Request
from rolecall.core.secrets import Secret
from rolecall.mechanisms.imds import documents, door, session_token
from rolecall.mechanisms.imds.door import Asked, Gate

NOW = 1_700_000_000.0
KEY = Secret("a key that only this agent has")
SOURCE = "10.0.0.7 0f3c"
ALLOWED = documents.PRESETS["legacy-read"]
FILES = sorted((Path(__file__).parents[3] / "corpus" / "imds").glob("*.json"))
CASES: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES}
TOKEN = "x-aws-ec2-metadata-token"
# EC2's own page, as legacy-proxies.md §2.2 has it.
PAGE_404 = b"""<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
\t"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>404 - Not Found</title>
 </head>
 <body>
  <h1>404 - Not Found</h1>
 </body>
</html>
"""


def given_token(name: str) -> str:
    """Return what stands for a word of the corpus."""
    good = session_token.mint(KEY, SOURCE, now=NOW, ttl=60).reveal()
    raw = bytearray(base64.urlsafe_b64decode(good))
    match name:
        case "GOOD":
            return good
        case "OTHER":
            return session_token.mint(KEY, "10.0.0.9 77aa", now=NOW, ttl=60).reveal()
        case "EXPIRED":
            return session_token.mint(KEY, SOURCE, now=NOW - 60, ttl=60).reveal()
        case "ROTTEN":
            raw[-1] ^= 1
            return base64.urlsafe_b64encode(raw).decode()
        case "LATER":
            raw[6] += 1
            return base64.urlsafe_b64encode(raw).decode()
    return name


def parse(case: dict[str, Any]) -> Asked | Reply:
    """Ask as a case says."""
    asked = case["request"]
    headers = tuple((name, given_token(value) if name == TOKEN else value) for name, value in asked["headers"])
    request = Request(asked["method"], asked["target"], headers, peer="10.0.0.7")
    gate = Gate(KEY, SOURCE, required=case.get("required", False))
    got = door.parse(request, gate, allowed=ALLOWED, now=NOW)
    return door.render_directory(got, ALLOWED) if isinstance(got, Asked) and got.what == "directory" else got


@pytest.mark.parametrize("name", CASES)
def test_request(name: str) -> None:
    """A request is understood, given a token, or refused with the service's status and page."""
    wanted, got = CASES[name]["reply"], parse(CASES[name])
    if "asks" in wanted:
        path = CASES[name]["request"]["target"].partition("?")[0]
        assert isinstance(got, Asked)
        assert got == Asked(**{"path": got.path, **wanted["asks"]})
        assert got.path == path.replace("%3A", ":").replace("%2D", "-")
        return
    assert isinstance(got, Reply)
    assert got.status == wanted["status"]
    headers = dict(got.headers)
    if "text" in wanted:
        assert (got.body, headers["content-type"]) == (wanted["text"].encode(), "text/plain")
    elif "token" in wanted:
        assert headers["x-aws-ec2-metadata-token-ttl-seconds"] == str(wanted["token"])
        left = session_token.seconds_left(KEY, SOURCE, got.body.decode(), now=NOW)
        assert left == wanted["token"]
    else:
        assert got.reason
        assert headers["content-type"] == "text/html"
        assert f"<title>{got.status} - ".encode() in got.body
        assert headers.get("allow") == wanted.get("allow")


def test_an_unknown_page_is_the_services_own() -> None:
    """Some clients take a page's text for a value: it must at least be the page that they know."""
    from rolecall.mechanisms.imds import wire

    assert wire.error(404, "not-found").body == PAGE_404


REQUESTS = st.builds(
    Request,
    st.sampled_from(["GET", "HEAD", "PUT", "POST"]),
    st.text(alphabet="/.%2eEfF35C;?#\\\0aé latest-meta-dataiamuser-data", max_size=60).map(lambda text: f"/{text}")
    | st.lists(
        st.sampled_from(
            ["latest", "meta-data", "user-data", "iam", "identity-credentials", "ec2", "security-credentials", "..",
             ".", "", "%2e%2e", "%2F", "placement", "region", "dynamic", "instance-identity", "document", "pkcs7", "x"]
        ),
        max_size=8,
    ).map(lambda parts: "/" + "/".join(parts)),
    st.just((("host", "169.254.169.254"),)),
)  # fmt: skip


@given(REQUESTS)
def test_nothing_is_asked_upstream_that_is_not_on_the_list(request: Request) -> None:
    """Whatever is sent, a document is one of the constants, and one that this door was given."""
    got = door.parse(request, Gate(KEY, SOURCE), allowed=ALLOWED, now=NOW)
    if isinstance(got, Asked) and got.what == "document":
        assert got.document in ALLOWED
        assert documents.upstream_path(got.document).removeprefix("/latest/") in documents.DOCUMENTS
    if isinstance(got, Asked) and got.what == "directory":
        assert {"user-data", "iam/", "identity-credentials/"}.isdisjoint(
            door.render_directory(got, ALLOWED).body.decode().split("\n")
        )


@given(st.text(max_size=80))
def test_a_name_that_is_not_on_the_list_has_no_upstream_path(name: str) -> None:
    """The last guard stands where the path is made."""
    if name not in documents.DOCUMENTS:
        with pytest.raises(ValueError, match="allow-list"):
            documents.upstream_path(name)


def test_no_document_of_the_list_is_a_secret() -> None:
    """What the older proxies passed on to their harm is on no list, under no preset."""
    for name in documents.DOCUMENTS:
        assert not name.startswith(
            ("user-data", "meta-data/iam", "meta-data/identity-credentials", "meta-data/public-keys")
        )
    assert set().union(*documents.PRESETS.values()) == documents.DOCUMENTS
