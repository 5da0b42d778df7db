"""Matching: wildcards, actions, resources, ARNs, principals. Patterns are prepared once, at parse time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from rolecall.core.policy.context import RequestContext
from rolecall.core.policy.variables import Atom, Template, Variable, Wild, parse_template

Matcher = Callable[[str], bool]


def _units(text: str) -> str:
    """Return `text` with one character for each UTF-16 unit: AWS's ``?`` matches one such unit."""
    if text.isascii() or max(text) < "\U00010000":
        return text
    raw = text.encode("utf-16-le", "surrogatepass")
    return "".join(chr(raw[at] | raw[at + 1] << 8) for at in range(0, len(raw), 2))


@dataclass(frozen=True, slots=True)
class _Run:
    """A stretch of a pattern between two ``*``: pieces of text with one ``?`` between each two."""

    pieces: tuple[str, ...]
    length: int

    def at(self, text: str, start: int) -> bool:
        """Say whether the run matches at `start`; the caller sees to it that it is long enough."""
        for piece in self.pieces:
            if not text.startswith(piece, start):
                return False
            start += len(piece) + 1
        return True

    def find(self, text: str, start: int, end: int) -> int:
        """Return the first place in text[start:end] where the run matches, or -1."""
        if len(self.pieces) == 1:
            return text.find(self.pieces[0], start, end)
        last = end - self.length
        offset = next((at for at, piece in enumerate(self.pieces) if piece), None)
        if offset is None:  # nothing but ?
            return start if start <= last else -1
        anchor = self.pieces[offset]
        while start <= last:
            found = text.find(anchor, start + offset, end)
            if found < 0 or found - offset > last:
                return -1
            if self.at(text, found - offset):
                return found - offset
            start = found - offset + 1
        return -1


def compile_glob(atoms: Iterable[Atom]) -> Matcher:
    """Return a matcher of whole texts for a pattern of text, ``*`` (any text, also none) and ``?``.

    The leftmost place for each run is always good enough, so nothing is ever tried twice: the time
    is at most the length of the text times the length of the pattern, usually their sum.
    """
    runs = _runs(atoms)
    if any(len(run.pieces) > 1 for run in runs):
        return _match_runs(runs)
    head, *middle, tail = (run.pieces[0] for run in runs) if len(runs) > 1 else (runs[0].pieces[0], "")
    least = len(head) + len(tail) + sum(map(len, middle))
    if len(runs) == 1:
        return head.__eq__
    if not any(middle):
        if not tail:
            return lambda text: text.startswith(head)
        return lambda text: len(text) >= least and text.startswith(head) and text.endswith(tail)
    return _match_texts(head, tuple(filter(None, middle)), tail)


def _match_texts(head: str, middle: tuple[str, ...], tail: str) -> Matcher:
    """Return a matcher of texts with stars between them."""
    least = len(head) + len(tail) + sum(map(len, middle))

    def matches(text: str) -> bool:
        if len(text) < least or not text.startswith(head) or not text.endswith(tail):
            return False
        start, end = len(head), len(text) - len(tail)
        for part in middle:
            found = text.find(part, start, end)
            if found < 0:
                return False
            start = found + len(part)
        return True

    return matches


def _match_runs(runs: list[_Run]) -> Matcher:
    """Return a matcher of runs that hold ``?``, counted in UTF-16 units."""
    head, tail = runs[0], runs[-1]
    middle = tuple(run for run in runs[1:-1] if run.length)
    least = sum(run.length for run in runs)

    def matches(text: str) -> bool:
        text = _units(text)
        if len(runs) == 1:
            return len(text) == least and head.at(text, 0)
        end = len(text) - tail.length
        if len(text) < least or not head.at(text, 0) or not tail.at(text, end):
            return False
        start = head.length
        for run in middle:
            found = run.find(text, start, end)
            if found < 0:
                return False
            start = found + run.length
        return True

    return matches


def _runs(atoms: Iterable[Atom]) -> list[_Run]:
    atoms = tuple(atoms)
    counted = Wild.ONE in atoms  # literal text alone matches the same way in characters and in units
    runs: list[list[str]] = [[""]]
    for atom in atoms:
        if atom is Wild.MANY:
            runs.append([""])
        elif atom is Wild.ONE:
            runs[-1].append("")
        else:
            assert isinstance(atom, str)
            runs[-1][-1] += _units(atom) if counted else atom
    return [_Run(tuple(run), sum(map(len, run)) + len(run) - 1) for run in runs]


class Pattern:
    """A template with wildcards, ready to match. It is case-sensitive.

    Where a variable in it does not resolve, it matches nothing.
    """

    __slots__ = ("_last", "_prefix", "fixed", "template")

    def __init__(self, template: Template) -> None:
        first = template.pieces[0] if template.pieces else None
        self.template = template
        self.fixed: Matcher | None = None
        self._prefix = first if isinstance(first, str) else ""
        self._last: tuple[tuple[Atom, ...], Matcher] | None = None
        if not template.variables:
            self.fixed = compile_glob(template.expand(_NO_CONTEXT) or ())

    def matches(self, text: str, context: RequestContext) -> bool:
        """Say whether the whole of `text` matches."""
        if self.fixed is not None:
            return self.fixed(text)
        if not text.startswith(self._prefix):
            return False
        atoms = self.template.expand(context)
        if atoms is None:
            return False
        last = self._last  # the same requester asks again and again: its pattern is kept
        if last is None or last[0] != atoms:
            self._last = last = (atoms, compile_glob(atoms))
        return last[1](text)


_NO_CONTEXT = RequestContext()


class ArnPattern:
    """An ARN pattern matched field by field: no wildcard reaches over one of the first five colons.

    Source: IAM User Guide, "Amazon Resource Name (ARN) condition operators". A lone ``*`` matches every
    ARN; a lone variable stands for a whole ARN, compared literally. Raises `ValueError` for a text that is
    no ARN pattern.
    """

    __slots__ = ("_patterns", "_texts", "_whole")

    def __init__(self, template: Template) -> None:
        lone = template.pieces[0] if len(template.pieces) == 1 else None
        self._whole = Pattern(template) if lone is Wild.MANY or isinstance(lone, Variable) else None
        self._texts: list[tuple[int, str]] = []  # fields that are literal, with their places
        self._patterns: list[tuple[int, Pattern]] = []
        if self._whole is not None:
            return
        parts = template.split(":", 5)
        if len(parts) != 6 or parts[0].pieces != ("arn",):
            raise ValueError('an ARN pattern has six fields, as "arn:aws:iam::123456789012:role/*", or is "*"')
        for place, part in enumerate(parts[1:], 1):
            if all(isinstance(piece, str) for piece in part.pieces):
                self._texts.append((place, "".join(map(str, part.pieces))))
            elif part.pieces != (Wild.MANY,):
                self._patterns.append((place, Pattern(part)))

    def matches(self, text: str, context: RequestContext) -> bool:
        """Say whether `text`, an ARN, matches; what is no ARN never does."""
        parts = text.split(":", 5)
        if len(parts) != 6 or parts[0] != "arn":
            return False
        if self._whole is not None:
            return self._whole.matches(text, context)
        for place, wanted in self._texts:
            if parts[place] != wanted:
                return False
        for place, pattern in self._patterns:  # noqa: SIM110 - a generator would double the time
            if not pattern.matches(parts[place], context):
                return False
        return True


def is_arn(text: str) -> bool:
    """Say whether a request's value has the form of an ARN: six fields, the first of them ``arn``."""
    return text.startswith("arn:") and text.count(":") >= 5


class ActionPatterns:
    """The Action or NotAction element. Matching ignores case, as IAM does."""

    __slots__ = ("_any", "_exact", "_globs", "negated", "texts")

    def __init__(self, texts: Iterable[str], *, negated: bool = False) -> None:
        self.texts = tuple(texts)
        self.negated = negated
        folded = [text.lower() for text in self.texts]
        self._any = "*" in folded
        self._exact = frozenset(text for text in folded if "*" not in text and "?" not in text)
        self._globs = tuple(
            compile_glob(parse_template(text, variables=False, wildcards=True).expand(_NO_CONTEXT) or ())
            for text in folded
            if text not in self._exact
        )

    def cover(self, folded_action: str) -> bool:
        """Say whether the element covers an action, given in lower case."""
        if self._any or folded_action in self._exact:
            return not self.negated
        for matches in self._globs:
            if matches(folded_action):
                return not self.negated
        return self.negated


class ResourcePatterns:
    """The Resource or NotResource element.

    A ``*`` may reach over colons (IAM User Guide, Resource: at the end of a segment it does); the whole
    text is matched as one pattern, case-sensitively.
    """

    __slots__ = ("_any", "_patterns", "negated", "texts")

    def __init__(self, texts: Iterable[str], *, negated: bool = False, variables: bool = True) -> None:
        self.texts = tuple(texts)
        self.negated = negated
        self._any = "*" in self.texts
        self._patterns = tuple(
            Pattern(parse_template(text, variables=variables, wildcards=True)) for text in self.texts if text != "*"
        )

    def cover(self, resource: str, context: RequestContext) -> bool:
        """Say whether the element covers a resource."""
        if self._any:
            return not self.negated
        for pattern in self._patterns:
            if pattern.matches(resource, context):
                return not self.negated
        return self.negated


RequesterKind = Literal["user", "role-session", "service", "web-identity", "account-root", "anonymous"]


@dataclass(frozen=True, slots=True)
class Requester:
    """Who makes a request, as far as a Principal element can tell.

    `arn` is the user's, the session's or the root's ARN; `account` its account (for a web identity the
    provider's). `role_arn` is set for role sessions, `service` for services, `provider_arn` for web
    identities. `user_id` is the unique id (``AIDA…``, ``AROA…:session``).
    """

    arn: str
    account: str
    kind: RequesterKind
    role_arn: str | None = None
    service: str | None = None
    provider_arn: str | None = None
    user_id: str = ""


class PrincipalMatch(Enum):
    """How a Principal element names a requester: not at all, itself, or by its account."""

    NO = "no"
    DIRECT = "direct"
    DELEGATED = "delegated"


@dataclass(frozen=True, slots=True)
class Principals:
    """The Principal element of a trust policy.

    `accounts` are (partition, account id) pairs, with an empty partition where only the id was written.
    """

    everyone: bool = False
    arns: frozenset[str] = frozenset()
    accounts: frozenset[tuple[str, str]] = frozenset()
    services: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    texts: tuple[str, ...] = field(default=(), compare=False)

    def match(self, requester: Requester) -> PrincipalMatch:
        """Say how the element names `requester`.

        ``*`` never means a web identity. An account means its users and role sessions, but only by
        delegation: the account decides which of them (IAM User Guide, "AWS account principals").
        """
        kind = requester.kind
        if kind == "web-identity":
            return _direct(requester.provider_arn in self.providers)
        if self.everyone:
            return PrincipalMatch.DIRECT
        if kind == "service":
            return _direct(requester.service in self.services)
        if kind == "anonymous":
            return PrincipalMatch.NO
        if requester.arn in self.arns or (kind == "role-session" and requester.role_arn in self.arns):
            return PrincipalMatch.DIRECT
        partition = requester.arn.partition(":")[2].partition(":")[0]
        if ("", requester.account) in self.accounts or (partition, requester.account) in self.accounts:
            return PrincipalMatch.DIRECT if kind == "account-root" else PrincipalMatch.DELEGATED
        return PrincipalMatch.NO


def _direct(hit: bool) -> PrincipalMatch:
    return PrincipalMatch.DIRECT if hit else PrincipalMatch.NO
