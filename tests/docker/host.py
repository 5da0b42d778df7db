"""A Docker host with the agent in metadataproxy's place, and AWS within its reach: the plane of ``rolecall dev``."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cluster.binaries import dying_with_us
from docker.engine import Engine
from docker.inside import inside
from integration.dev_plane import ACCOUNT, ROOT, DevPlane, plain_environment, wait_until

DOOR = "169.254.169.254"
ROLES = "/latest/meta-data/iam/security-credentials/"
PROGRAM = ROOT / "tests" / "docker" / "program.py"
# What a Python of the machine needs to run in a container.
MOUNTS = tuple({str(path): None for path in (Path("/usr"), Path("/lib"), Path("/lib64"), Path(sys.base_prefix), ROOT)})
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}],
}


@dataclass
class Host:
    """A host. `names` is which role session a key is of, as STS said when it was first asked."""

    engine: Engine
    plane: DevPlane
    directory: Path
    names: dict[str, str] = field(default_factory=dict)

    def start(self) -> Host:
        """Start the agent by metadataproxy's name and variables; it is at its address when this returns."""
        own = {"HOST": DOOR, "PORT": "80", "DOCKER_URL": f"unix://{self.engine.socket}", "DEFAULT_ACCOUNT_ID": ACCOUNT}
        return self.start_agent(["metadataproxy"], own)

    def start_agent(self, command: list[str], variables: Mapping[str, str]) -> Host:
        """Start an agent, and wait until it serves."""
        keys = {name.upper(): value for name, value in self.plane.keys().items()}
        aws = {"AWS_ENDPOINT_URL_STS": self.plane.url, "AWS_REGION": "us-west-2"}
        with (self.directory / "agent.err").open("w") as log:
            self.agent = subprocess.Popen(
                dying_with_us(command),
                env=plain_environment(self.directory) | keys | aws | variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._serves, f"the agent to serve; it said: {self.said()}")
        return self

    def stop(self) -> None:
        """End the agent, as an operator does."""
        self.agent.terminate()
        assert self.agent.wait(20) == 0, self.said()

    def said(self) -> str:
        """Return what the agent has logged."""
        return (self.directory / "agent.err").read_text()

    def role(self, name: str, path: str = "/") -> None:
        """Make a role that whoever is of the account may assume."""
        self.plane.client("iam").create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=json.dumps(TRUST))

    def owner(self, keys: Mapping[str, str]) -> str:
        """Return the role session that credentials are of, as STS says."""
        key = keys["access_key"]
        if key not in self.names:
            signing = {"aws_secret_access_key": keys["secret_key"], "aws_session_token": keys["token"]}
            sts = self.plane.client("sts", aws_access_key_id=key, **signing)
            found = sts.get_caller_identity()["Arn"]
            self.names[key] = found.partition(":assumed-role/")[2]
        return self.names[key]

    def owner_of_document(self, document: bytes) -> str:
        """Return the role session that a credentials document is of."""
        found = json.loads(document)
        names = {"access_key": "AccessKeyId", "secret_key": "SecretAccessKey", "token": "Token"}
        return self.owner({name: found[member] for name, member in names.items()})

    def _serves(self) -> bool:
        assert self.agent.poll() is None, self.said()
        return "agent.serving" in self.said()


@contextlib.contextmanager
def hosting(engine: Engine, directory: Path, *flags: str) -> Iterator[Host]:
    """Make a host, with these flags for its plane: it has roles ``one``, ``team/two`` and ``three``, and no agent yet.

    All that this process opens meanwhile, it opens on the host's network.
    """
    with inside(engine.network):
        plane = DevPlane(directory / "state", directory, flags).start()
        host = Host(engine, plane, directory)
        try:
            for name, path in (("one", "/"), ("two", "/team/"), ("three", "/")):
                host.role(name, path)
            yield host
        finally:
            plane.stop()


def asked(
    namespace: Path | None,
    path: str,
    *,
    method: str = "GET",
    source: str = "",
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """Ask the door from a network namespace, by one of its addresses; return status and body."""
    connection = http.client.HTTPConnection(DOOR, 80, timeout=10, source_address=(source, 0) if source else None)
    if namespace is None:
        connection.connect()
    else:
        with inside(namespace):
            connection.connect()
    try:
        connection.request(method, path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
