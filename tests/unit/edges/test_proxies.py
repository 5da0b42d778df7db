"""Which proxy an origin has, as curl and Go understand the variables."""

from __future__ import annotations

import base64

import pytest

from rolecall.edges.proxies import Proxies
from rolecall.errors import Misconfigured

BOTH = {"HTTP_PROXY": "http://plain.example:3128", "https_proxy": "secure.example:8080"}


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "direct"),
    [
        ("", "sts.amazonaws.com", 443, False),
        ("", "localhost", 443, True),
        ("", "127.0.0.9", 443, True),
        ("", "::1", 443, True),
        ("*", "sts.amazonaws.com", 443, True),
        ("amazonaws.com", "sts.amazonaws.com", 443, True),
        ("amazonaws.com", "amazonaws.com", 443, True),
        ("amazonaws.com", "AmazonAWS.com.", 443, True),
        ("amazonaws.com", "notamazonaws.com", 443, False),
        (".amazonaws.com", "sts.amazonaws.com", 443, True),
        (".amazonaws.com", "amazonaws.com", 443, False),
        (" a.example , b.example ,", "b.example", 443, True),
        ("b.example:8443", "b.example", 8443, True),
        ("b.example:8443", "b.example", 443, False),
        ("10.0.0.0/8", "10.9.8.7", 443, True),
        ("10.0.0.0/8", "11.9.8.7", 443, False),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("10.1.2.3:80", "10.1.2.3", 443, False),
        ("fd00::/8", "fd00:ec2::23", 443, True),
        ("[fd00:ec2::23]:443", "fd00:ec2::23", 443, True),
        ("[fd00:ec2::23]:80", "fd00:ec2::23", 443, False),
        ("169.254.170.23,[fd00:ec2::23]", "fd00:ec2::23", 80, True),
        ("10.0.0.0/99", "10.9.8.7", 443, False),
    ],
)
def test_no_proxy(no_proxy: str, host: str, port: int, direct: bool) -> None:
    """Hosts, suffixes, addresses, ranges and ports; this machine is never asked through a proxy."""
    proxies = Proxies({**BOTH, "NO_PROXY": no_proxy})
    assert (proxies.for_origin("https", host, port) is None) is direct


def test_each_scheme_has_its_proxy_and_the_lower_case_name_wins() -> None:
    """As in curl."""
    proxies = Proxies({**BOTH, "HTTPS_PROXY": "http://other.example"})
    plain, secure = proxies.for_origin("http", "a.example", 80), proxies.for_origin("https", "a.example", 443)
    assert plain is not None
    assert secure is not None
    assert (plain.host, plain.port, secure.host, secure.port) == ("plain.example", 3128, "secure.example", 8080)
    assert Proxies({}).for_origin("https", "a.example", 443) is None


def test_a_user_becomes_a_header_that_nothing_shows() -> None:
    """RFC 7617, percent-encoding undone."""
    proxy = Proxies({"https_proxy": "http://me:p%40ss%3Aword@proxy.example:1"}).for_origin("https", "a.example", 443)
    assert proxy is not None
    assert proxy.authorization is not None
    kind, _, value = proxy.authorization.reveal().partition(" ")
    assert (kind, base64.b64decode(value)) == ("Basic", b"me:p@ss:word")
    assert value not in repr(proxy)


@pytest.mark.parametrize(
    "url", ["https://me:hidden@p.example", "socks5://me:hidden@p", "http://", "http://p:port", "http://[::1"]
)
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable(url: str) -> None:
    """The message does not repeat a URL that may have a password in it."""
    with pytest.raises(Misconfigured, match="https_proxy") as caught:
        Proxies({"https_proxy": url})
    assert "hidden" not in caught.value.message + caught.value.hint
