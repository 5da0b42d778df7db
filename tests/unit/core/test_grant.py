"""A grant says which role the caller ends up with."""

from __future__ import annotations

import pytest

from rolecall.core.grant import Grant, Hop
from rolecall.core.names import RoleArn
from rolecall.core.session import SessionSpec

ROLE = RoleArn.parse("arn:aws:iam::123456789012:role/carts-dynamo")
TARGET = RoleArn.parse("arn:aws:iam::210987654321:role/target")
SPEC = SessionSpec("session", 900)


@pytest.mark.parametrize(
    ("hops", "role"),
    [
        pytest.param((Hop(ROLE, SPEC),), ROLE, id="one"),
        pytest.param((Hop(ROLE, SPEC), Hop(TARGET, SPEC)), TARGET, id="target"),
    ],
)
def test_the_role_of_a_grant(hops: tuple[Hop, ...], role: RoleArn) -> None:
    """The caller ends up with the last hop's role."""
    assert Grant(hops, ()).role == role
