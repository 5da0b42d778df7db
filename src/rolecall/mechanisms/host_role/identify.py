"""Who is asking: something on this node. That is all that the metadata service ever knew."""

from __future__ import annotations

from rolecall.core.caller import OnNode


def identify(node: str) -> OnNode:
    """Return the caller: whoever it is, it is on this node."""
    return OnNode(node)
