"""Identifiers in the forms that AWS gives them (IAM User Guide, unique identifiers)."""

from __future__ import annotations

import base64

from rolecall.core.secrets import Secret
from rolecall.edges import entropy

_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_LOWER = "abcdefghijklmnopqrstuvwxyz0123456789"


def unique_id(prefix: str) -> str:
    """Return ``AROA…``, ``AKIA…`` and the like: the prefix and 17 (ids) or 16 (keys) base-32 characters."""
    return prefix + entropy.choice_text(_BASE32, 16 if prefix in ("AKIA", "ASIA") else 17)


def secret_key() -> Secret:
    """Return a secret access key: 40 base64 characters."""
    return Secret(base64.b64encode(entropy.token_bytes(30)).decode())


def session_token() -> Secret:
    """Return an opaque session token."""
    return Secret(base64.b64encode(entropy.token_bytes(288)).decode())


def association_id() -> str:
    """Return ``a-`` and 17 lower-case letters or digits."""
    return "a-" + entropy.choice_text(_LOWER, 17)


def issuer_id() -> str:
    """Return the 32 upper-case hex digits at the end of an issuer's URL."""
    return entropy.token_bytes(16).hex().upper()


def pod_suffix() -> str:
    """Return the five characters at the end of a generated pod name (Kubernetes' alphabet)."""
    return entropy.choice_text("bcdfghjklmnpqrstvwxz2456789", 5)
