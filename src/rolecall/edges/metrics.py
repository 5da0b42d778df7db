"""Counters, gauges and histograms in Prometheus' text format, rendered by ourselves: a node's memory is dear."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

Labels = Mapping[str, str]
NONE: Labels = {}

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MOST_CODES = 64


def count(counts: dict[str, int], code: str) -> None:
    """Count a code; codes come from outside, so only so many different ones are told apart."""
    if code not in counts and len(counts) >= _MOST_CODES:
        code = "other"
    counts[code] = counts.get(code, 0) + 1


class Histogram:
    """How often what was measured was at most so much: one count for each of the bounds, one above them all."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Iterable[float]) -> None:
        self.bounds = tuple(sorted(bounds))
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value; the bounds belong to the bucket below them."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def samples(self, name: str, unmeasured: int = 0) -> list[tuple[str, Labels, float]]:
        """Return the samples of a family; `unmeasured` more are counted in the lowest bucket, as zero."""
        so_far = [number + unmeasured for number in accumulate(self.counts)]
        bounds = [_number(bound) for bound in self.bounds] + ["+Inf"]
        buckets: list[tuple[str, Labels, float]] = [
            (f"{name}_bucket", {"le": bound}, number) for bound, number in zip(bounds, so_far, strict=True)
        ]
        return [*buckets, (f"{name}_sum", NONE, self.total), (f"{name}_count", NONE, so_far[-1])]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family. `kind` is ``counter``, ``gauge`` or ``histogram``.

    `samples` are (labels, value) pairs; `series` are samples with names of their own, as a histogram has them.
    """

    name: str
    kind: str
    help: str
    samples: Iterable[tuple[Labels, float]] = field(default=())
    series: Iterable[tuple[str, Labels, float]] = field(default=())


def histogram(name: str, words: str, found: Histogram, unmeasured: int = 0) -> Metric:
    """Return the family of a histogram."""
    return Metric(name, "histogram", words, series=found.samples(name, unmeasured))


def render(metrics: Iterable[Metric]) -> bytes:
    """Return the families in Prometheus' text exposition format 0.0.4."""
    lines: list[str] = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {_escape(metric.help)}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        lines += [_line(metric.name, labels, value) for labels, value in metric.samples]
        lines += [_line(name, labels, value) for name, labels, value in metric.series]
    return ("\n".join(lines) + "\n").encode()


def _line(name: str, labels: Labels, value: float) -> str:
    shown = ",".join(f'{key}="{_quote(text)}"' for key, text in labels.items())
    return f"{name}{{{shown}}} {_number(value)}" if shown else f"{name} {_number(value)}"


def _number(value: float) -> str:
    """Return a number as Go reads it: whole ones without a point, those that are none by their names."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'+' if value > 0 else '-'}Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quote(text: str) -> str:
    return _escape(text).replace('"', '\\"')
