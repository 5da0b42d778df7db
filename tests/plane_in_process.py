"""The embedded identity plane in process: a real SQLite file, virtual time, no sockets, unmodified botocore.

::

    with Plane.open(tmp_path) as plane:
        sts = plane.client("sts")                      # signs as admin; unmodified botocore
        sts.get_caller_identity()
        plane.advance(3600)                            # virtual seconds; botocore signs with the same clock
        reply = plane.call(Request("GET", "/", HOST))  # raw bytes to the front

Everything is synchronous: one event loop belongs to the plane, and every call runs on it to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import botocore.session
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, AWSResponse
from botocore.client import BaseClient
from botocore.compat import HAS_CRT
from botocore.config import Config
from botocore.credentials import Credentials as BotoCredentials

from rolecall.core.exchange import Headers, Reply, Request
from rolecall.core.names import AccountId, Region
from rolecall.core.secrets import Secret
from rolecall.daemons.local_aws.build import Readiness, build, world_of
from rolecall.daemons.local_aws.config import PlaneConfig
from rolecall.daemons.local_aws.iam.records import active_key, bootstrap
from rolecall.daemons.local_aws.imds.ec2 import Ec2
from rolecall.daemons.local_aws.imds.face import MetadataService
from rolecall.daemons.local_aws.imds.instance import launch
from rolecall.daemons.local_aws.imds.pod_doors import PodDoors
from rolecall.daemons.local_aws.imds.proxied import Node
from rolecall.daemons.local_aws.imds.wire import documents
from rolecall.daemons.local_aws.issuers import Issuers
from rolecall.daemons.local_aws.schema import MIGRATIONS
from rolecall.edges.store.sqlite import Database
from rolecall.testing.fake_clock import FakeClock

ACCOUNT = "123456789012"
REGION = "us-west-2"
URL = "http://127.0.0.1:4500"
HOST: Headers = (("host", "127.0.0.1:4500"),)
# botocore signs in C where awscrt is installed, else in Python.
_SIGNERS = ("botocore.auth", "botocore.crt.auth") if HAS_CRT else ("botocore.auth",)
FORM = "application/x-www-form-urlencoded; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Keys:
    """What a client signs with: a user's key, or a session's with its token."""

    access_key_id: str
    secret: Secret
    token: Secret | None = None

    @classmethod
    def of(cls, credentials: Mapping[str, Any]) -> Keys:
        """Return the keys in STS's ``Credentials`` or EKS Auth's ``credentials``."""
        folded = {name.lower(): value for name, value in credentials.items()}
        return cls(folded["accesskeyid"], Secret(folded["secretaccesskey"]), Secret(folded["sessiontoken"]))


class Plane:
    """One plane over one database file. Make it with `open`; leave it with the ``with`` statement."""

    def __init__(self, config: PlaneConfig, clock: FakeClock) -> None:
        self.config = config
        self.clock = clock
        self.clusters: dict[str, str] = {}
        """Issuer URL to cluster name, as the plane last told it."""
        self.client_offset = 0.0
        """By how many seconds the clients' clock is ahead of the plane's."""
        self._runner = asyncio.Runner()
        try:
            self._start()
        except BaseException:
            self._runner.close()
            raise

    def _start(self) -> None:
        self.world = world_of(self.config, URL)
        self.readiness = Readiness(ready=True)
        self.database = Database(self.config.state_dir / "plane.sqlite")
        self.issuers = Issuers(self._told)
        self._runner.run(self._assemble())

    async def _assemble(self) -> None:
        try:
            await self.database.open(MIGRATIONS)
            await self.database.run(lambda tx: bootstrap(tx, self.world, self.clock.now()))
            instance = await self.database.run(lambda tx: launch(tx, self.world, self.clock.now()))
            ec2, key = Ec2(instance, self.world, self.database, self.clock), Secret("a key of session tokens")
            self.imds = MetadataService(ec2, key)
            self.imds_node = Node(ec2, self.database, key, documents(instance, self.world))
            self.doors = PodDoors(self.imds_node, restrictions=self.config.namespace_restrictions)
            self.front = await build(
                self.config, self.world, self.database, self.issuers, self.clock, self.readiness, self.doors
            )
            self.admin = Keys(*await self.database.run(lambda tx: active_key(tx, "admin")))
            self.node = Keys(*await self.database.run(lambda tx: active_key(tx, "node")))
        except BaseException:
            await self.database.close()
            raise

    def _told(self, clusters: dict[str, str]) -> None:
        self.clusters = clusters

    @classmethod
    @contextlib.contextmanager
    def open(cls, state_dir: Path, *, clock: FakeClock | None = None, **settings: Any) -> Iterator[Plane]:
        """Start a plane on `state_dir`; `settings` are fields of `PlaneConfig`. Time starts now."""
        fixed: dict[str, Any] = {
            "listen_host": "127.0.0.1",
            "listen_port": 4500,
            "agent_host": "127.0.0.1",
            "agent_port": 4501,
            "imds_host": "127.0.0.1",
            "imds_port": 4502,
            "state_dir": state_dir,
            "account": AccountId.parse(ACCOUNT),
            "region": Region.parse(REGION),
        }
        plane = cls(PlaneConfig(**(fixed | settings)), clock or FakeClock(start=time.time()))
        try:
            with contextlib.ExitStack() as patches:
                for module in _SIGNERS:
                    patches.enter_context(mock.patch(f"{module}.get_current_datetime", plane._botocore_now))
                yield plane
        finally:
            plane._runner.run(plane.database.close())
            plane._runner.close()

    def _botocore_now(self, remove_tzinfo: bool = True) -> datetime:
        now = datetime.fromtimestamp(self.clock.now() + self.client_offset, UTC)
        return now.replace(tzinfo=None) if remove_tzinfo else now

    def restart(self) -> None:
        """Close the plane and start it again on the same file, at the same moment."""
        self._runner.run(self.database.close())
        self._start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run something on the plane's own event loop, to its end."""
        return self._runner.run(coroutine)

    def call(self, request: Request) -> Reply:
        """Return the front's reply to a request."""
        reply: Reply = self._runner.run(self.front.answer(request))
        return reply

    def advance(self, seconds: float) -> None:
        """Let virtual time pass, for the plane and for botocore's signatures."""
        self._runner.run(self.clock.advance(seconds))

    def client(
        self, service: str, keys: Keys | None = None, *, region: str = REGION, validate: bool = True
    ) -> BaseClient:
        """Return botocore's client of a service, signing as admin or with `keys`. It never retries.

        Without `validate` it sends parameters that it knows to be wrong.
        """
        config = Config(retries={"total_max_attempts": 1}, parameter_validation=validate)
        return self._client(service, keys or self.admin, config, region)

    def unsigned_client(self, service: str) -> BaseClient:
        """Return botocore's client of a service without credentials."""
        config = Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1})
        return self._client(service, None, config, REGION)

    def _client(self, service: str, keys: Keys | None, config: Config, region: str) -> BaseClient:
        client = _session().create_client(
            service,
            region_name=region,
            endpoint_url=URL,
            config=config,
            aws_access_key_id=keys.access_key_id if keys else None,
            aws_secret_access_key=keys.secret.reveal() if keys else None,
            aws_session_token=keys.token.reveal() if keys and keys.token else None,
        )
        client.meta.events.register("before-send.*.*", self._deliver)
        return client

    def _deliver(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """Stand in for botocore's HTTP session: hand its prepared request to the front."""
        reply = self.call(_as_request(request))
        return AWSResponse(request.url, reply.status, dict(reply.headers), _Raw(reply.body))

    def signed(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        service: str,
        keys: Keys | None = None,
        region: str = REGION,
        headers: Mapping[str, str] | None = None,
    ) -> Request:
        """Return a raw request with botocore's own signature over it, at the plane's time."""
        keys = keys or self.admin
        unsigned = AWSRequest(method=method, url=URL + target, data=body, headers=dict(headers or {}))
        credentials = BotoCredentials(
            keys.access_key_id, keys.secret.reveal(), keys.token.reveal() if keys.token else None
        )
        SigV4Auth(credentials, service, region).add_auth(unsigned)
        given = tuple((name.lower(), str(value)) for name, value in unsigned.headers.items())
        return Request(method, target, HOST + given, body, "127.0.0.1")

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return everything the database holds, by table: for comparing before and after."""

        def read(tx: Any) -> dict[str, list[tuple[Any, ...]]]:
            names = [row[0] for row in tx.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {
                name: sorted((tuple(row) for row in tx.execute(f"SELECT * FROM {name}")), key=repr) for name in names
            }

        found: dict[str, list[tuple[Any, ...]]] = self.run(self.database.run(read))
        return found


class _Raw:
    """What botocore reads a body from."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._body


@functools.cache
def _session() -> botocore.session.Session:
    """Return one botocore session that sees no file and no variable of this machine's user."""
    session = botocore.session.Session()
    for name in ("config_file", "credentials_file"):
        session.set_config_variable(name, "/nonexistent/aws")
    for name in ("profile", "ca_bundle"):
        session.set_config_variable(name, None)
    return session


def _as_request(request: AWSPreparedRequest) -> Request:
    """Return what would arrive on the wire."""
    parts = urlsplit(request.url)
    body = request.body or b""
    if isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes | bytearray):
        body = body.read()
    headers = {"host": parts.netloc, "accept-encoding": "identity"}
    for name, value in request.headers.items():
        headers[name.lower()] = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Request(request.method, target, tuple(headers.items()), bytes(body), "127.0.0.1")
