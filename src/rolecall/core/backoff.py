"""How long to wait between attempts, as a pure sequence. The dice are an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterator


def delays(*, base: float, cap: float, dice: Callable[[], float], least: float = 0.0) -> Iterator[float]:
    """Yield delays in seconds without end: exponential with jitter.

    The ceiling of the n-th delay is ``min(cap, base * 2**n)``, from n = 0. `dice` returns a number from
    0 to 1; the delay lies that far between `least` (a share of the ceiling) and the ceiling. With
    ``least=0`` this is full jitter: the spread that empties a herd soonest; a negative answer that must
    hold for a while takes ``least=0.5``.
    """
    ceiling = min(base, cap)
    while True:
        share = least + (1.0 - least) * min(1.0, max(0.0, dice()))
        yield ceiling * share
        ceiling = min(ceiling * 2.0, cap)
