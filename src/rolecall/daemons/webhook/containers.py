"""What each container is given: nothing that it has already, and never half of what an SDK needs.

Only ``env`` can be seen, not what ``envFrom`` brings; ``env`` wins over ``envFrom`` where both set a variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rolecall.core.frozen import frozen
from rolecall.core.injection import Injection
from rolecall.daemons.webhook.wire import Container, EnvVar, Mount
from rolecall.daemons.webhook.words import Note
from rolecall.mechanisms.pod_identity.inject import DOOR_HOSTS

STS_KEY = "AWS_STS_REGIONAL_ENDPOINTS"
REGION_KEYS = ("AWS_DEFAULT_REGION", "AWS_REGION")
SESSION_KEY = "AWS_ROLE_SESSION_NAME"
_PROXIES = frozenset({"HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"})
_EXCEPTIONS = ("NO_PROXY", "no_proxy")
# What SDKs look at before the pair (the default chains of AWS's SDKs: environment, web identity, container).
_BEFORE = {
    "irsa": ("AWS_ACCESS_KEY_ID",),
    "pod-identity": ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
}
# already: has the pair as we would give it; own: sets one of the pair itself; taken: its mount path is.
Outcome = Literal["given", "already", "own", "taken"]


@frozen
class Wanted:
    """What a container is to have: the injection, and what goes with it here."""

    injection: Injection
    session_from_pod_name: bool = False
    door_hosts: tuple[str, ...] = ()


@dataclass(slots=True)
class Change:
    """What is added to the container at `path`: plain variables, variables from the downward API, a mount.

    `longer` holds the new values of variables that are there, by index; the old value is their beginning.
    """

    path: str
    container: Container
    outcome: Outcome = "given"
    env: list[tuple[str, str]] = field(default_factory=list)
    from_field: list[tuple[str, str]] = field(default_factory=list)
    longer: list[tuple[int, str]] = field(default_factory=list)
    mount: bool = False
    key: str = ""


def change(path: str, container: Container, wanted: Wanted, notes: list[Note]) -> Change:
    """Return what is added to a container."""
    injection = wanted.injection
    found = Change(path, container)
    has = {entry.name: entry for entry in container.env or ()}
    pair = injection.pair
    own = [name for name, _ in pair if name in has]
    if own:
        theirs = all(name in has and has[name].value == value for name, value in pair)
        found.outcome, found.key = ("already" if theirs else "own"), own[0]
        _note_own(found, own, pair, notes)
    token = injection.token
    at_path = _mounted_at(token.mount_path, container)
    if at_path is not None and at_path.name != token.volume and not (own and found.outcome == "own"):
        found.outcome = "taken"
        notes.append(Note("mount-path-taken", container.name, _taken(container.name, token.mount_path)))
        return found
    untouched = own and STS_KEY in has and any(key in has for key in REGION_KEYS)
    if untouched and not _reads_ours(has, pair):
        return found  # AWS's webhook leaves a container alone that has all of them
    _add_env(found, has, pair, wanted)
    found.mount = at_path is None
    _note_shadows(container.name, has, injection, notes)
    if wanted.door_hosts and not own:
        _let_past_proxy(found, has, wanted.door_hosts, notes)
    return found


def _reads_ours(has: Mapping[str, EnvVar], pair: tuple[tuple[str, str], ...]) -> bool:
    """Return whether the container's own variables point at the token that is mounted."""
    name, value = pair[1]
    return name in has and has[name].value == value


def _add_env(found: Change, has: Mapping[str, EnvVar], pair: tuple[tuple[str, str], ...], wanted: Wanted) -> None:
    others = wanted.injection.env[: -len(pair)]
    if others:
        regional = any(key in has for key in REGION_KEYS)
        found.env += [one for one in others if one[0] not in has and not (regional and one[0] in REGION_KEYS)]
    if found.outcome == "given":
        found.env += pair
    if wanted.session_from_pod_name and SESSION_KEY not in has and found.outcome == "given":
        found.from_field.append((SESSION_KEY, "metadata.name"))


def _note_own(found: Change, own: list[str], pair: tuple[tuple[str, str], ...], notes: list[Note]) -> None:
    name = found.container.name
    if len(own) < len(pair):
        lacks = next(key for key, _ in pair if key not in own)
        notes.append(
            Note("half-set", own[0], f"container {name} sets {own[0]} without {lacks}: remove it, or set both")
        )
    elif found.outcome == "own":
        notes.append(Note("already-set", own[0], f"container {name} sets {own[0]} itself and keeps it"))


def _note_shadows(name: str, has: Mapping[str, EnvVar], injection: Injection, notes: list[Note]) -> None:
    for key in _BEFORE[injection.generation]:
        if key in has:
            what = "its association" if injection.generation == "pod-identity" else "its service account's role"
            notes.append(Note("shadowed", key, f"container {name} sets {key}, which SDKs take before {what}"))


def _let_past_proxy(found: Change, has: Mapping[str, EnvVar], hosts: tuple[str, ...], notes: list[Note]) -> None:
    """Name the door's hosts in NO_PROXY where a proxy is set: the SDKs of Go and Rust would ask the proxy."""
    if not _PROXIES & has.keys():
        return
    there = [name for name in _EXCEPTIONS if name in has]
    if not there:
        found.env += [(name, ",".join(hosts)) for name in _EXCEPTIONS]
    for index, entry in enumerate(found.container.env or ()):
        if entry.name not in there:
            continue
        if entry.value_from is not None:
            notes.append(
                Note("no-proxy-unseen", entry.name, f"{entry.name} of container {found.container.name} has to name "
                     + " and ".join(hosts))
            )  # fmt: skip
            continue
        named = [host.strip() for host in (entry.value or "").split(",")]
        lacking = [host for host in hosts if host not in named and host.strip("[]") not in named]
        if lacking and "*" not in named:
            found.longer.append((index, ",".join([*filter(None, [entry.value]), *lacking])))


def door_hosts(full_uri: str) -> tuple[str, ...]:
    """Return the hosts that no proxy may be asked for; none where the door is another's, such as loopback."""
    return DOOR_HOSTS if any(f"//{host}" in full_uri for host in DOOR_HOSTS) else ()


def _mounted_at(path: str, container: Container) -> Mount | None:
    path = path.rstrip("/")
    for mount in container.volume_mounts or ():
        if mount.mount_path.rstrip("/") == path:
            return mount
    return None


def _taken(name: str, path: str) -> str:
    return f"container {name} has another volume mounted at {path}, where the token has to be: it gets no role"
