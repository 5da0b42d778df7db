"""What a program is given to find the intercepted service: nothing in a pod; a variable where nothing intercepts."""

from __future__ import annotations

from rolecall.mechanisms.imds.inject import environment

__all__ = ["environment"]
