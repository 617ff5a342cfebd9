"""The drawings: well-formed, of the page's colours, and labels apart from each other."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from pytest_speedbench.analysis.pareto import OperatingPoint
from pytest_speedbench.report import charts
from pytest_speedbench.report.charts import Interval, Series

HOSTILE = '<script>alert(1)</script> $x$ "&\x1b[31m'
ROWS = ("coding", "math", HOSTILE)
OLD = Series("baseline", (Interval(2.0, 1.8, 2.2), None, Interval(1.5)))
NEW = Series("this run", (Interval(1.9, 1.7, 2.1), Interval(2.5, 2.0, 3.0), None))


def texts(svg: str) -> list[str]:
    tree = ElementTree.fromstring(svg)
    return ["".join(e.itertext()) for e in tree.iter("{http://www.w3.org/2000/svg}text")]


def test_a_forest_has_its_rows_and_both_sides() -> None:
    svg = charts.forest("f", f"AL of {HOSTILE}", ROWS, (OLD, NEW))
    assert {"coding", "math", "baseline", "this run", "AL (tokens/step)"} <= set(texts(svg))
    assert "<script" not in svg
    assert "\x1b" not in svg
    assert ElementTree.fromstring(svg).get("role") == "img"


def test_drawings_take_the_colours_of_the_page() -> None:
    svg = charts.positions("p", "p", (OLD, NEW))
    colours = re.findall(r"(?:fill|stroke): ?([^;\"]+)", svg)
    assert colours
    assert all(colour == "none" or colour.startswith("var(--") for colour in colours), set(colours)


def test_ids_of_drawings_are_their_own() -> None:
    ids = [
        set(re.findall(r'\bid="([^"]+)"', charts.step_lengths(name, name, (OLD,))))
        for name in ("a", "b")
    ]
    assert not ids[0] & ids[1]


def test_three_series_have_three_colours() -> None:
    svg = charts.depths("d", "d", (OLD, NEW, Series("third", OLD.values)), ("1k", "2k", "4k"))
    assert {"var(--s0)", "var(--s1)", "var(--s2)"} <= set(re.findall(r"var\(--s\d\)", svg))


@pytest.mark.parametrize("spread", [0.0, 1.0, 20.0])
def test_labels_of_points_do_not_overlap(spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        OperatingPoint(f"run {run}", 2**k, run, 100.0 * k + spread * run, 90.0 - k * 9 + run, None)
        for run in range(4)
        for k in range(6)
    ]
    boxes, marks = [], []
    label_points = charts._label_points

    def spied(axes: Any, labels: Mapping[tuple[float, float], tuple[str, str]]) -> None:
        label_points(axes, labels)
        boxes.extend(text.get_window_extent() for text in axes.texts)
        marks.extend(charts._mark(axes, point) for point in labels)

    monkeypatch.setattr(charts, "_label_points", spied)
    charts.throughput("t", "t", points)
    assert len(boxes) >= 4
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert not any(box.overlaps(mark) for box in boxes for mark in marks)
