"""The profile that the environment chooses, out of the shared config and credentials files of AWS's SDKs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rolecall.errors import Misconfigured

LONGEST_FILE = 1_048_576

_SECTION = re.compile(r"\[\s*(.*?)\s*\]\s*(?:[#;].*)?")
_SECRETS = frozenset({"aws_secret_access_key", "aws_session_token"})


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile as it was at the start: its settings in either file, without secrets.

    `named`: somebody said which profile or which credentials file it is. `config_section` is the profile's section
    in the config file. Paths are None where there is no home directory and none is named.
    """

    name: str
    named: bool
    credentials_path: Path | None
    config_path: Path | None
    config_section: str
    credentials: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)

    def setting(self, name: str) -> str:
        """Return a setting, the credentials file's before the config file's; "" where there is none."""
        return self.credentials.get(name) or self.config.get(name) or ""


def read_profile(environment: Mapping[str, str]) -> Profile:
    """Return the profile of AWS_PROFILE, else ``default``; files that are not there are empty.

    Raises `Misconfigured` for a file that is there and cannot be read.
    """
    chosen = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE") or ""
    name = chosen or "default"
    credentials_path = _path(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials")
    config_path = _path(environment, "AWS_CONFIG_FILE", "config")
    sections = _read(config_path)
    section = name if name == "default" and name in sections else f"profile {name}"
    return Profile(
        name=name,
        named=bool(chosen or environment.get("AWS_SHARED_CREDENTIALS_FILE")),
        credentials_path=credentials_path,
        config_path=config_path,
        config_section=section,
        credentials=_public(_read(credentials_path).get(name, {})),
        config=_public(sections.get(section, {})),
    )


def sections_of(text: str) -> Mapping[str, Mapping[str, str]]:
    """Return the sections of a config or credentials file; lines that mean nothing are passed over.

    Not configparser: its errors quote the lines they stumble over, and a line here may be a secret.
    """
    sections: dict[str, dict[str, str]] = {}
    fields: dict[str, str] = {}
    for line in text.removeprefix("\ufeff").splitlines():
        if not line.strip() or line.lstrip()[0] in "#;":
            continue
        section = _SECTION.fullmatch(line.strip())
        if section:
            fields = sections.setdefault(" ".join(section[1].split()), {})
        elif not line[0].isspace():  # an indented line belongs to a nested setting
            name, equals, value = line.partition("=")
            if equals:
                fields[name.strip().lower()] = value.strip()
    return sections


def _public(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: "" if name in _SECRETS else value for name, value in fields.items()}


def _path(environment: Mapping[str, str], variable: str, usual: str) -> Path | None:
    home, named = environment.get("HOME"), environment.get(variable)
    if named and named.startswith("~/") and home:
        return Path(home) / named[2:]
    if named:
        return Path(named)
    return Path(home) / ".aws" / usual if home else None


def _read(path: Path | None) -> Mapping[str, Mapping[str, str]]:
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise Misconfigured(
            f"the file {path} cannot be read: {os.strerror(error.errno or 0)}", hint="let this user read it"
        ) from None
    if len(content) > LONGEST_FILE:
        raise Misconfigured(f"the file {path} is longer than {LONGEST_FILE} bytes", hint="name another one")
    return sections_of(content.decode("utf-8", "replace"))
