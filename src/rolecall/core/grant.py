"""The decision: a Grant with its reasons, or a Refusal with its."""

from __future__ import annotations

from dataclasses import dataclass

from rolecall.core.names import RoleArn
from rolecall.core.session import SessionSpec


@dataclass(frozen=True, slots=True)
class Hop:
    """One AssumeRole: this role, with this session."""

    role: RoleArn
    session: SessionSpec


@dataclass(frozen=True, slots=True)
class Grant:
    """Which role sessions the caller gets: the role, then the target role where there is one.

    `because` names what decided: association ids, statement ids, annotations.
    """

    hops: tuple[Hop, ...]
    because: tuple[str, ...]

    @property
    def role(self) -> RoleArn:
        """The role whose session the caller ends up holding."""
        return self.hops[-1].role


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not: a stable reason word, a sentence for the operator, and what to do next."""

    reason: str
    sentence: str
    hint: str = ""
    because: tuple[str, ...] = ()


Decision = Grant | Refusal
