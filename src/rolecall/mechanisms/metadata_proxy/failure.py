"""An error of AWS in the words that the older proxies passed on."""

from __future__ import annotations

from rolecall.errors import RolecallError, UpstreamAnswered


def said_by_aws(error: RolecallError) -> str:
    """Return ``Code: message`` of what AWS said, or our own sentence where it said nothing.

    What is wrong with the agent's own settings, with its paths, is not a pod's to know.
    """
    if error.blame == "operator":
        return "the agent of this node cannot ask AWS; its log says why"
    return f"{error.code}: {error.message}" if isinstance(error, UpstreamAnswered) else error.message
