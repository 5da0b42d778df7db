"""Which URLs and addresses are asked at all; nothing here connects anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from rolecall.edges.guarded_fetch import GuardedFetcher, _place
from rolecall.errors import Upstream

PUBLIC = "93.184.215.14"


def allowed(
    url: str, found: Sequence[str], *, loopback: bool = True, private: frozenset[str] = frozenset()
) -> list[str]:
    """Return those of the addresses found that would be connected to."""

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return found

    fetcher = GuardedFetcher(allow_private=private, resolve=resolve)
    return [str(address) for address in asyncio.run(fetcher._addresses(_place(url), loopback=loopback))]


# The special-purpose registries of IANA (RFC 6890), and ways to write an IPv4 address as an IPv6 one.
SPECIAL = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "169.254.169.254", "169.254.170.23", "172.16.0.1", "192.0.0.8",
    "192.0.2.1", "192.168.1.1", "198.18.0.1", "203.0.113.1", "224.0.0.1", "224.0.1.1", "240.0.0.1", "255.255.255.255",
    "::", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::169.254.169.254", "64:ff9b::169.254.169.254",
    "64:ff9b:1::1", "2002:a9fe:a9fe::1", "2001:db8::1", "fc00::1", "fd00:ec2::254", "fd00:ec2::23", "fe80::1",
    "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip


@pytest.mark.parametrize("address", SPECIAL)
def test_special_addresses_are_refused_unless_the_host_may_have_them(address: str) -> None:
    """Metadata services above all, however their address is written."""
    with pytest.raises(Upstream, match="private address; allow it with --allow-private-issuer"):
        allowed("https://issuer.example/x", [address])
    assert allowed("https://ISSUER.example/x", [address], private=frozenset({"Issuer.Example"}))
    with pytest.raises(Upstream):
        allowed("https://issuer.example/x", [address], private=frozenset({"other.example"}))


@pytest.mark.parametrize(
    "address", [PUBLIC, "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e", "::ffff:93.184.215.14"]
)
def test_public_addresses_are_asked_by_https_only(address: str) -> None:
    """Also through a NAT64 gateway, where an IPv6-only cluster finds them."""
    assert len(allowed("https://issuer.example/x", [address])) == 1
    with pytest.raises(Upstream, match="must use https"):
        allowed("http://issuer.example/x", [address])


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_this_machine_is_asked_only_where_that_is_meant(address: str, scheme: str) -> None:
    """An issuer may be here; a document that came from elsewhere may not send us here."""
    assert len(allowed(f"{scheme}://localhost/x", [address])) == 1
    with pytest.raises(Upstream, match="this machine"):
        allowed(f"{scheme}://localhost/x", [address], loopback=False)


def test_every_address_of_a_host_is_judged() -> None:
    """A name with a good and a bad address leads to the good one, wherever it stands in the answer."""
    assert allowed("https://issuer.example/x", ["169.254.169.254", PUBLIC, "::ffff:10.0.0.1"]) == [PUBLIC]
    assert allowed("http://localhost/x", ["::1", "127.0.0.1"]) == ["::1", "127.0.0.1"]
    with pytest.raises(Upstream):
        allowed("http://localhost/x", [PUBLIC, "10.0.0.1"])


def test_a_host_without_an_address_is_an_upstream_that_failed() -> None:
    """Whatever the resolver says."""

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        raise OSError

    with pytest.raises(Upstream, match="no address"):
        asyncio.run(GuardedFetcher(resolve=resolve).get("https://issuer.example", longest=10, loopback=True))
    for found in ([], ["not an address"]):
        with pytest.raises(Upstream, match="no address"):
            allowed("https://issuer.example/x", found)


@pytest.mark.parametrize(
    "url",
    [
        "", "issuer.example", "//issuer.example", "https://", "https:///x", "ftp://issuer.example/", "file:///etc/passwd",
        "https://user@issuer.example/", "https://user:word@issuer.example/", "https://@issuer.example/",
        "https://[::1", "https://issuer.example:port/", "https://issuer.example:99999/", "https://issuer.example/\xe9",
        "https://issüer.example/", "https://issuer.example/" + "a" * 2048, "https://a\x1b[31m.example:x/",
    ],
)  # fmt: skip
def test_what_is_no_plain_https_url_is_refused(url: str) -> None:
    """In a message that a terminal can show."""
    with pytest.raises(Upstream) as caught:
        allowed(url, [PUBLIC])
    assert caught.value.message.isprintable()
    assert caught.value.message.isascii()
    assert "word" not in caught.value.message


def test_the_query_belongs_to_the_target() -> None:
    """Some issuers' key sets have one; a fragment is never sent."""
    place = _place("https://issuer.example:8443/keys?p=policy#part")
    assert (place.target, place.authority, place.host, place.port) == (
        "/keys?p=policy",
        "issuer.example:8443",
        "issuer.example",
        8443,
    )
    assert _place("https://issuer.example").target == "/"
