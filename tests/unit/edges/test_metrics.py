"""Metrics as Prometheus' own parser reads them."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from rolecall.edges.metrics import Histogram, Metric, count, histogram, render

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.text('ab\\\n"{}, =', max_size=10)


@given(TEXT, TEXT, st.floats(), st.integers(-(2**60), 2**60))
@example("", "", math.inf, 2**53 + 1)
@example("", "", math.nan, 0)
def test_metrics_are_read_back_as_they_were(label: str, words: str, value: float, whole: int) -> None:
    """Whatever stands in labels, and whatever number it is: codes come from outside."""
    rendered = render(
        [
            Metric("rolecall_a_total", "counter", "Some.", [({"code": label, "door": words}, value), ({}, whole)]),
            Metric("rolecall_b", "gauge", "Nothing yet."),
        ]
    )
    first, second = text_string_to_metric_families(rendered.decode())
    assert (first.name, first.type, first.documentation) == ("rolecall_a", "counter", "Some.")
    labelled, plain = first.samples
    assert labelled.labels == {"code": label, "door": words}
    assert labelled.value == value or (math.isnan(value) and math.isnan(labelled.value))
    assert (plain.labels, plain.value) == ({}, float(whole))
    assert (second.name, second.type, second.samples) == ("rolecall_b", "gauge", [])


@given(st.text('ab\\\n"{}, =', max_size=10).filter(lambda words: words == words.strip()))
def test_help_is_one_line(words: str) -> None:
    """A break in it would begin another one."""
    (found,) = text_string_to_metric_families(render([Metric("rolecall_a", "gauge", words, [({}, 1)])]).decode())
    assert found.documentation == words


@given(st.lists(st.floats(0, 20), max_size=30), st.integers(0, 5))
@example([0.1, 1.0, 1.0000001, 5.0], 2)
def test_a_histogram_is_cumulative(values: list[float], unmeasured: int) -> None:
    """Each bucket has all values up to its bound, the bound included (Prometheus: histograms); +Inf has all."""
    found = Histogram([1.0, 0.1, 5.0])
    for value in values:
        found.observe(value)
    (family,) = text_string_to_metric_families(
        render([histogram("took_seconds", "It took.", found, unmeasured)]).decode()
    )
    assert family.type == "histogram"
    read = {(sample.name, sample.labels.get("le", "")): sample.value for sample in family.samples}
    for bound, shown in ((0.1, "0.1"), (1.0, "1"), (5.0, "5"), (math.inf, "+Inf")):
        assert read["took_seconds_bucket", shown] == sum(value <= bound for value in values) + unmeasured
    assert read["took_seconds_count", ""] == len(values) + unmeasured
    assert math.isclose(read["took_seconds_sum", ""], sum(values), abs_tol=1e-9)
    assert found.count == len(values)


def test_only_so_many_codes_are_told_apart() -> None:
    """An upstream that invents codes fills no memory, and those that were known go on being counted."""
    counts: dict[str, int] = {}
    for n in range(100):
        count(counts, f"Code{n}")
    count(counts, "Code7")
    assert (len(counts), counts["other"], counts["Code7"], sum(counts.values())) == (65, 36, 2, 101)
