"""Fetching issuers' keys from real servers on this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from integration.edges.loopback import Page, Server, answer, certify
from rolecall.core.tokens.keys import Keyset
from rolecall.edges.clock import Clock, SystemClock
from rolecall.edges.oidc_keys import OidcKeys
from rolecall.errors import Upstream
from rolecall.testing.fake_clock import FakeClock

DISCOVERY = "/.well-known/openid-configuration"
KEY = ec.generate_private_key(ec.SECP256R1())


def jwks(*kids: str) -> bytes:
    """Return a key set as PyJWT writes it."""
    key = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key()))
    return json.dumps({"keys": [{**key, "kid": kid, "use": "sig", "alg": "ES256"} for kid in kids]}).encode()


class World:
    """An issuer at `url`, and the keys that are fetched from it."""

    def __init__(self, **options: Any) -> None:
        self.server = Server()
        self.clock: Clock = options.pop("clock", None) or FakeClock()
        self.scheme, self.host = options.pop("scheme", "http"), options.pop("host", "127.0.0.1")
        self.keys = OidcKeys(clock=self.clock, **options)

    @property
    def url(self) -> str:
        """The issuer."""
        return f"{self.scheme}://{self.host}:{self.server.port}"

    def publish(self, *kids: str, **document: object) -> None:
        """Serve discovery and key set; `document` replaces or, with None, removes members of the former."""
        found = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            **document,
        }
        shown = {name: value for name, value in found.items() if value is not None}
        self.server.pages[DISCOVERY] = answer(json.dumps(shown).encode())
        self.server.pages["/keys"] = answer(jwks(*kids))

    async def fetch(self, kid: str | None = None) -> Keyset:
        """Ask for the issuer's keys."""
        return await self.keys.keyset(self.url, kid=kid)

    @property
    def fetches(self) -> int:
        """How often discovery was asked for."""
        return self.server.hits(DISCOVERY)

    async def pass_time(self, seconds: float) -> None:
        """Let virtual time pass."""
        assert isinstance(self.clock, FakeClock)
        await self.clock.advance(seconds)


def play(scene: Callable[[World], Awaitable[None]], *, tls: Any = None, **options: Any) -> None:
    """Run a scene with a server of its own."""

    async def run() -> None:
        world = World(**options)
        await world.server.start(tls)
        world.publish("one")
        try:
            async with asyncio.timeout(20):
                await scene(world)
        finally:
            await world.server.stop()

    asyncio.run(run())


def resolver(*answers: str) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    """Return a resolver that gives one answer after the other, the last one for ever."""
    left = list(answers)

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return [left.pop(0) if len(left) > 1 else left[0]]

    return resolve


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_keys_of_an_issuer_on_this_machine(host: str) -> None:
    """Over http; localhost is first tried at ::1 where nobody listens, then at 127.0.0.1."""

    async def scene(world: World) -> None:
        found = await world.fetch()
        assert set(found.keys) == {"one"}
        assert found.choose("one").public_numbers() == KEY.public_key().public_numbers()
        assert [head.split("\r\n")[0] for head in world.server.heads] == [
            f"GET {DISCOVERY} HTTP/1.1",
            "GET /keys HTTP/1.1",
        ]
        assert f"host: {host}:{world.server.port}" in world.server.heads[0].lower()

    play(scene, host=host)


def test_keys_of_their_own_media_type() -> None:
    """kube-apiserver serves its keys as RFC 7517's application/jwk-set+json, and else answers 406."""

    async def scene(world: World) -> None:
        kind = "application/jwk-set+json"

        async def negotiating(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accept = next(line for line in world.server.heads[-1].split("\r\n") if line.lower().startswith("accept:"))
            good = any(word in accept for word in (kind, "*/*"))
            writer.write(answer(jwks("one"), "200 OK", f"Content-Type: {kind}") if good else answer(b"", "406 No"))

        world.server.pages["/keys"] = negotiating
        assert set((await world.fetch()).keys) == {"one"}

    play(scene)


def test_keys_over_https_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    """The certificate must be for the issuer's host, and of an authority that is trusted."""
    authority, context = certify(tmp_path, "issuer.example")
    options: dict[str, Any] = {"tls": context, "scheme": "https", "resolve": resolver("127.0.0.1")}

    async def accepted(world: World) -> None:
        assert set((await world.fetch()).keys) == {"one"}

    async def refused(world: World) -> None:
        with pytest.raises(Upstream, match="its certificate is not accepted"):
            await world.fetch()
        assert world.server.heads == []

    play(accepted, host="issuer.example", ca_file=str(authority), **options)
    play(refused, host="issuer.example", **options)
    play(refused, host="other.example", ca_file=str(authority), **options)


def test_a_ca_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """The operator learns which file it is."""

    async def scene(world: World) -> None:
        with pytest.raises(Upstream, match=r"CA file .*nothing\.pem cannot be used"):
            await world.fetch()

    play(scene, scheme="https", ca_file=str(tmp_path / "nothing.pem"))


@pytest.mark.parametrize("path", [DISCOVERY, "/keys"])
@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
def test_redirects_are_not_followed(path: str, status: str) -> None:
    """Neither to elsewhere nor to another path of the same server."""

    async def scene(world: World) -> None:
        world.server.pages["/elsewhere"] = world.server.pages[path]
        world.server.pages[path] = answer(b"", status, f"Location: {world.url}/elsewhere")
        with pytest.raises(Upstream, match=f"answered {status[:3]}; redirects are not followed"):
            await world.fetch()
        assert world.server.hits("/elsewhere") == 0

    play(scene)


@pytest.mark.parametrize("path", [DISCOVERY, "/keys"])
def test_a_document_may_have_a_mebibyte(path: str) -> None:
    """One byte more is refused, said in the head or not; nothing is read on then."""

    async def scene(world: World) -> None:
        whole = world.server.pages[path]
        assert isinstance(whole, bytes)
        body = whole.partition(b"\r\n\r\n")[2]
        world.server.pages[path] = answer(body + b" " * (2**20 - len(body)))
        assert await world.fetch()
        await world.pass_time(300.0)
        world.server.pages[path] = answer(body + b" " * (2**20 - len(body) + 1))
        world.keys._held.clear()
        with pytest.raises(Upstream, match="longer than 1048576 bytes"):
            await world.fetch()

        async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                await writer.drain()

        world.server.pages[path] = endless
        await world.pass_time(10.0)
        ended = world.server.ended
        with pytest.raises(Upstream, match="longer than 1048576 bytes"):
            await world.fetch()
        while world.server.ended == ended:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    play(scene)


async def _silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _dripping_head(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    await _drip(writer)


async def _dripping_body(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    await _drip(writer)


async def _continuing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.005)


async def _drip(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("path", [DISCOVERY, "/keys"])
@pytest.mark.parametrize("page", [_silent, _dripping_head, _dripping_body, _continuing])
def test_a_fetch_has_so_much_time_however_the_issuer_spends_it(path: str, page: Page) -> None:
    """Both documents together; then the connection is gone, and no thread is left behind with it."""

    async def scene(world: World) -> None:
        world.server.pages[path] = page
        with pytest.raises(Upstream, match=r"did not answer within 0\.2 seconds"):
            await world.fetch()
        while world.server.ended < len(world.server.heads):  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    play(scene, clock=SystemClock(), seconds=0.2)


def test_a_hundred_keys_are_taken_and_not_one_more() -> None:
    """As by STS (landscape.md §1.2)."""

    async def scene(world: World) -> None:
        world.publish(*(f"{n}" for n in range(100)))
        assert len((await world.fetch()).keys) == 100
        world.publish(*(f"{n}" for n in range(101)))
        await world.pass_time(300.0)
        assert len((await world.fetch()).keys) == 100, "those that are held"
        world.keys._held.clear()
        await world.pass_time(10.0)
        with pytest.raises(Upstream, match="no key that can be used"):
            await world.fetch()

    play(scene)


def test_an_unknown_key_id_is_looked_for_once_in_ten_seconds() -> None:
    """A rotated key is found soon; a flood of made-up ids costs the issuer one fetch in ten seconds."""

    async def scene(world: World) -> None:
        await world.fetch("one")
        world.publish("one", "two")
        for n in range(20):
            assert "two" not in (await world.fetch(f"made-up-{n}")).keys
        assert world.fetches == 1
        await world.pass_time(10.0)
        assert set((await world.fetch("two")).keys) == {"one", "two"}
        assert await world.fetch("two")
        assert world.fetches == 2
        for n in range(20):
            await world.fetch(f"made-up-{n}")
        await world.fetch("")
        assert world.fetches == 2

    play(scene)


def test_keys_are_fetched_again_after_five_minutes() -> None:
    """A key that was withdrawn is not believed for longer."""

    async def scene(world: World) -> None:
        await world.fetch("one")
        world.publish("two")
        await world.pass_time(299.0)
        assert set((await world.fetch("one")).keys) == {"one"}
        await world.pass_time(1.0)
        assert set((await world.fetch("one")).keys) == {"two"}

    play(scene)


def test_a_fetch_that_fails_never_replaces_keys_that_are_held() -> None:
    """Whatever becomes of the issuer; it is asked again after the cooldown, and believed again."""

    async def scene(world: World) -> None:
        await world.fetch()
        world.server.pages["/keys"] = answer(b"on fire", "500 Internal Server Error")
        for _ in range(40):
            await world.pass_time(20.0)
            assert set((await world.fetch("two")).keys) == {"one"}
        assert world.fetches == 41
        world.publish("two")
        await world.pass_time(10.0)
        assert set((await world.fetch("two")).keys) == {"two"}

    play(scene)


def test_a_failure_is_remembered_for_the_cooldown() -> None:
    """Who asks meanwhile hears the same, and the issuer hears nothing."""

    async def scene(world: World) -> None:
        world.server.pages[DISCOVERY] = answer(b"", "404 Not Found")
        for _ in range(20):
            with pytest.raises(Upstream, match="answered 404"):
                await world.fetch("one")
        assert world.fetches == 1
        world.publish("one")
        await world.pass_time(10.0)
        assert await world.fetch("one")

    play(scene)


def test_callers_share_a_fetch_and_the_first_ones_death_cancels_nothing() -> None:
    """Fifty tokens of a new issuer are one fetch; it is nobody's to cancel."""

    async def scene(world: World) -> None:
        gate, whole = asyncio.Event(), world.server.pages["/keys"]

        async def slow(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await gate.wait()
            assert isinstance(whole, bytes)
            writer.write(whole)

        world.server.pages["/keys"] = slow
        callers = [asyncio.create_task(world.fetch("one")) for _ in range(50)]
        while not world.server.hits("/keys"):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        callers[0].cancel()
        await asyncio.sleep(0)
        late = asyncio.create_task(world.fetch("one"))
        gate.set()
        found = await asyncio.gather(*callers[1:], late)
        assert all("one" in keyset.keys for keyset in found)
        assert (world.fetches, world.server.hits("/keys")) == (1, 1)

    play(scene)


def test_the_address_that_was_checked_is_the_one_that_is_connected_to() -> None:
    """A name that means the metadata service a moment later (DNS rebinding) leads there never."""

    async def scene(world: World) -> None:
        with pytest.raises(Upstream, match="is not this machine"):
            await world.fetch()
        assert world.fetches == 1, "the first document, by the address that was checked"
        assert world.server.hits("/keys") == 0

    play(scene, host="issuer.example", resolve=resolver("127.0.0.1", "169.254.169.254"))


def test_only_a_document_from_this_machine_may_send_us_to_this_machine() -> None:
    """A remote issuer whose jwks_uri is a port of ours is refused."""

    class Remote:
        async def get(self, url: str, *, longest: int, loopback: bool) -> Any:
            if url.endswith(DISCOVERY):
                fetched = await real.get(url, longest=longest, loopback=loopback)
                return type(fetched)(fetched.body, loopback=False)
            return await real.get(url, longest=longest, loopback=loopback)

    async def scene(world: World) -> None:
        nonlocal real
        real = world.keys._fetcher
        world.keys._fetcher = Remote()  # type: ignore[assignment]
        with pytest.raises(Upstream, match="which a document from elsewhere may not send us to"):
            await world.fetch()
        assert world.server.hits("/keys") == 0

    real: Any = None
    play(scene)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        pytest.param({"issuer": "https://other.example"}, "names another issuer", id="another issuer"),
        pytest.param({"issuer": None}, "names another issuer", id="no issuer"),
        pytest.param({"jwks_uri": None}, "lacks jwks_uri", id="no jwks_uri"),
        pytest.param({"jwks_uri": ""}, "lacks jwks_uri", id="empty jwks_uri"),
        pytest.param({"jwks_uri": 5}, "is not an https URL", id="jwks_uri not text"),
        pytest.param({"jwks_uri": "file:///etc/passwd"}, "is not an https URL", id="file"),
        pytest.param({"jwks_uri": "http://[::1"}, "is not a URL", id="brackets"),
        pytest.param({"jwks_uri": "http://169.254.169.254/latest"}, "must use https", id="metadata service"),
        pytest.param({"jwks_uri": "https://169.254.169.254/latest"}, "private address", id="metadata by https"),
        pytest.param({"jwks_uri": "https://[::ffff:169.254.169.254]/"}, "private address", id="metadata, mapped"),
        pytest.param({"response_types_supported": None}, "lacks response_types_supported", id="mandatory"),
    ],
)
def test_discovery_documents_that_are_refused(document: dict[str, object], says: str) -> None:
    """OpenID Connect Discovery 1.0 §4.3, and what STS asks for besides (landscape.md §1.1)."""

    async def scene(world: World) -> None:
        world.publish("one", **document)
        with pytest.raises(Upstream, match=says) as caught:
            await world.fetch()
        assert caught.value.message.isprintable()
        assert world.server.hits("/keys") == 0

    play(scene)


@pytest.mark.parametrize("path", [DISCOVERY, "/keys"])
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(answer(b"<html>"), id="not JSON"),
        pytest.param(answer(b"[]"), id="a list"),
        pytest.param(answer(b"{}"), id="nothing"),
        pytest.param(answer(b"\xff"), id="not UTF-8"),
        pytest.param(answer(b"[" * 100_000), id="nested"),
        pytest.param(answer(b'{"keys":[]}'), id="no keys"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", id="cut off"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", id="chunks cut off"),
        pytest.param(b"220 mail.example ESMTP\r\n", id="not HTTP"),
        pytest.param(b"", id="nothing at all"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n{}", id="a head too large"),
    ],
)
def test_documents_that_cannot_be_read(path: str, page: bytes) -> None:
    """Each is this issuer's failure, in words that name it; nothing else breaks."""

    async def scene(world: World) -> None:
        world.server.pages[path] = page
        with pytest.raises(Upstream, match=str(world.server.port)) as caught:
            await world.fetch()
        assert len(caught.value.message) < 300
        world.publish("one")
        await world.pass_time(10.0)
        assert await world.fetch()

    play(scene)


def test_an_issuer_that_does_not_listen() -> None:
    """Said as it is."""

    async def scene(world: World) -> None:
        await world.server.stop()
        with pytest.raises(Upstream, match="it refused the connection"):
            await world.fetch()

    play(scene)


def test_an_issuer_with_a_path_and_a_slash_at_its_end() -> None:
    """The slash is taken away before the well-known path is put on (OpenID Connect Discovery 1.0 §4.1)."""

    async def scene(world: World) -> None:
        issuer = f"{world.url}/id/ABC/"
        world.publish("one", issuer=issuer)
        world.server.pages[f"/id/ABC{DISCOVERY}"] = world.server.pages[DISCOVERY]
        assert await world.keys.keyset(issuer)

    play(scene)
