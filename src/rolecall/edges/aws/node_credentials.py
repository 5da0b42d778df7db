"""The agent's own AWS credentials: what it signs its calls to EKS Auth with."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rolecall.core.secrets import Secret
from rolecall.edges.aws.profiles import LONGEST_FILE, sections_of
from rolecall.errors import Misconfigured, Upstream

_PRINTABLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An access key; `session_token` is there for temporary credentials."""

    access_key_id: str
    secret: Secret
    session_token: Secret | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """An access key for a time: `expires_at` is in seconds since the epoch, UTC."""

    key: SigningKey
    expires_at: float


class NodeCredentials(Protocol):
    """Wherever the agent's own credentials come from."""

    async def current(self) -> SigningKey:
        """Return what to sign with now. Raises with a hint where there is nothing usable.

        `Misconfigured` where the operator has to act, `NoNodeCredentials` where whoever issues them has failed.
        """
        ...


class NoNodeCredentials(Upstream):
    """The agent has no credentials of its own, and so EKS Auth cannot be asked. It says nothing about any pod."""

    @property
    def word(self) -> str:
        """Always the same."""
        return "node-credentials"


class EnvironmentCredentials:
    """Credentials from environment values that were handed in.

    Reads AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where it is set, AWS_SESSION_TOKEN. Raises
    `Misconfigured` at once where the first two are not both there.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._key = signing_key(
            values.get("AWS_ACCESS_KEY_ID", ""),
            values.get("AWS_SECRET_ACCESS_KEY", ""),
            values.get("AWS_SESSION_TOKEN", ""),
            where="the environment",
            hint="set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )

    async def current(self) -> SigningKey:
        """Return the key; it never changes."""
        return self._key


class SharedFileCredentials:
    """Credentials from a shared credentials file (AWS SDKs and Tools Reference Guide), one profile of it.

    The file is read again whenever its time, size or inode has changed, so whoever rotates the key writes a
    new file and is done. A file that cannot be used is an error also if an earlier one could.
    """

    def __init__(self, path: Path, profile: str = "default") -> None:
        self._path = path
        self._profile = profile
        self._seen: tuple[int, int, int] | None = None
        self._key: SigningKey | None = None

    async def current(self) -> SigningKey:
        """Return the profile's key as the file has it now."""
        try:
            return self._read()
        except OSError as error:
            raise Misconfigured(
                f"the credentials file {self._path} cannot be read: {error.strerror or 'unknown error'}",
                hint="name a file that this user may read",
            ) from None

    def _read(self) -> SigningKey:
        with self._path.open("rb") as file:
            found = os.fstat(file.fileno())
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if self._key is not None and seen == self._seen:
                return self._key
            content = file.read(LONGEST_FILE + 1)
        self._key = None
        if len(content) > LONGEST_FILE:
            raise Misconfigured(f"the credentials file {self._path} is longer than {LONGEST_FILE} bytes")
        fields = sections_of(content.decode("utf-8", "replace")).get(self._profile)
        if fields is None:
            raise Misconfigured(
                f"the credentials file {self._path} has no profile {self._profile!r}",
                hint=f"add a section [{self._profile}] with aws_access_key_id and aws_secret_access_key",
            )
        self._key = signing_key(
            fields.get("aws_access_key_id", ""),
            fields.get("aws_secret_access_key", ""),
            fields.get("aws_session_token", ""),
            where=f"profile {self._profile!r} of {self._path}",
            hint="set both aws_access_key_id and aws_secret_access_key",
        )
        self._seen = seen
        return self._key


def signing_key(key_id: str, secret: str, token: str, *, where: str, hint: str) -> SigningKey:
    """Return a key of these parts; raises `Misconfigured`, quoting none, where they cannot be one."""
    key_id, secret, token = key_id.strip(), secret.strip(), token.strip()
    if not key_id or not secret:
        raise Misconfigured(f"{where} has no AWS access key", hint=hint)
    if not all(map(_PRINTABLE.fullmatch, (key_id, secret, token or "-"))) or "/" in key_id:
        raise Misconfigured(f"{where} has an AWS access key with characters that no access key has", hint=hint)
    return SigningKey(key_id, Secret(secret), Secret(token) if token else None)
