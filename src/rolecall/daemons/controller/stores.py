"""What the watches know: AWSIAMRoles, their Secrets without what is secret in them, and what namespaces permit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from rolecall.daemons.controller.queue import Key
from rolecall.daemons.controller.wire import Seen
from rolecall.edges.kube.wire import HasMeta
from rolecall.mechanisms.metadata_proxy.secret_files import Held

Changed = Callable[[Key], None]


class Roles:
    """AWSIAMRoles; `changed` is told the key of one that asks for something else, is new, or is gone."""

    def __init__(self, changed: Changed) -> None:
        self._changed = changed
        self._roles: dict[Key, Seen] = {}

    def __len__(self) -> int:
        return len(self._roles)

    def __iter__(self) -> Iterator[Seen]:
        return iter(self._roles.values())

    def get(self, key: Key) -> Seen | None:
        """Return one."""
        return self._roles.get(key)

    def replace(self, objects: Sequence[Seen]) -> None:
        """Hold exactly these."""
        for key in self._roles.keys() - {one.key for one in objects}:
            self.drop(self._roles[key])
        for one in objects:
            self.put(one)

    def put(self, found: Seen) -> None:
        """Hold this one as it is now."""
        before = self._roles.get(found.key)
        self._roles[found.key] = found
        if before is None or before.resource != found.resource:
            self._changed(found.key)

    def drop(self, found: Seen) -> None:
        """Hold this one no longer."""
        if self._roles.pop(found.key, None) is not None:
            self._changed(found.key)


class Secrets:
    """Secrets with our labels; `changed` is told the key of one that is not as it was."""

    def __init__(self, changed: Changed) -> None:
        self._changed = changed
        self._secrets: dict[Key, Held] = {}

    def __len__(self) -> int:
        return len(self._secrets)

    def __iter__(self) -> Iterator[Held]:
        return iter(self._secrets.values())

    def get(self, key: Key) -> Held | None:
        """Return one."""
        return self._secrets.get(key)

    def replace(self, objects: Sequence[Held]) -> None:
        """Hold exactly these, whatever their versions: they are lower after etcd was restored."""
        for key in self._secrets.keys() - {(one.namespace, one.name) for one in objects}:
            self.drop(self._secrets[key])
        for one in objects:
            self._hold(one)

    def put(self, found: Held) -> None:
        """Hold this one as it is now; an echo of what was written before the last write is not."""
        before = self._secrets.get((found.namespace, found.name))
        if before is None or not _older(found.version, before.version):
            self._hold(found)

    def _hold(self, found: Held) -> None:
        key = (found.namespace, found.name)
        if self._secrets.get(key) != found:
            self._secrets[key] = found
            self._changed(key)

    def drop(self, found: Held) -> None:
        """Hold this one no longer."""
        key = (found.namespace, found.name)
        held = self._secrets.get(key)
        if held is not None and held.uid == found.uid:
            del self._secrets[key]
            self._changed(key)


class Namespaces:
    """What each namespace permits: the text of its annotation `key`, None without one."""

    def __init__(self, key: str, changed: Callable[[str], None]) -> None:
        self._key, self._changed = key, changed
        self._lists: dict[str, str | None] = {}

    def __len__(self) -> int:
        return len(self._lists)

    def get(self, name: str) -> Mapping[str, str] | None:
        """Return the annotations that count; None for a namespace that is not known."""
        if name not in self._lists:
            return None
        text = self._lists[name]
        return {} if text is None else {self._key: text}

    def kept(self, found: HasMeta) -> tuple[str, str | None]:
        """Return what is kept of a namespace."""
        return found.metadata.name, (found.metadata.annotations or {}).get(self._key)

    def replace(self, objects: Sequence[tuple[str, str | None]]) -> None:
        """Hold exactly these."""
        for name in self._lists.keys() - {name for name, _ in objects}:
            del self._lists[name]
        for one in objects:
            self.put(one)

    def put(self, found: tuple[str, str | None]) -> None:
        """Hold this one as it is now."""
        name, text = found
        if name not in self._lists or self._lists[name] != text:
            self._lists[name] = text
            self._changed(name)

    def drop(self, found: tuple[str, str | None]) -> None:
        """Hold this one no longer."""
        self._lists.pop(found[0], None)


def _older(version: str, than: str) -> bool:
    """Whether a version of one object is before another (Kubernetes API Concepts: they grow, as decimal numbers)."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)
