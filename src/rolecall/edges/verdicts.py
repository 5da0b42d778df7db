"""What an error of upstream means for credentials that are held already."""

from __future__ import annotations

from rolecall.errors import BadInput, Refused, ServiceError, UpstreamAnswered

# What EKS Auth says when the credentials must not be served any longer: there is no association, or the
# token is over (EKS Auth API Reference, AssumeRoleForPodIdentity, Errors).
_DEFINITIVE = frozenset({"ResourceNotFound", "ExpiredToken", "InvalidToken"})
_AMBIGUOUS = "AccessDenied"


def is_definitive(error: Exception) -> bool:
    """Whether the error says that the pod has no right to credentials any more."""
    if isinstance(error, UpstreamAnswered | ServiceError):
        return _word(error) in _DEFINITIVE and not _is_about_the_node(error)
    return isinstance(error, Refused | BadInput)


def is_ambiguous(error: Exception) -> bool:
    """Whether the error may be about the pod, and may be about the node that asked."""
    if not isinstance(error, UpstreamAnswered | ServiceError):
        return False
    return _word(error) == _AMBIGUOUS or (_word(error) in _DEFINITIVE and _is_about_the_node(error))


def _is_about_the_node(error: UpstreamAnswered | ServiceError) -> bool:
    """Whether the node's keys are over, say, and not the pod's token."""
    return isinstance(error, UpstreamAnswered) and error.about_the_asker


def _word(error: UpstreamAnswered | ServiceError) -> str:
    return error.code.removesuffix("Exception")
