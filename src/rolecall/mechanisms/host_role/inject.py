"""What a program is given to find the metadata service."""

from __future__ import annotations

from rolecall.mechanisms.imds.inject import environment

__all__ = ["environment"]
