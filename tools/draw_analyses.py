"""Draws the figures of docs/analyze.md from the records in benchmarks/results.

python tools/draw_analyses.py
"""

from __future__ import annotations

import lzma
import tempfile
from pathlib import Path

from pytest_speedbench import Record, read_records
from pytest_speedbench.analysis.categories import categories
from pytest_speedbench.analysis.pareto import pareto
from pytest_speedbench.report.figures import draw

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MATRIX = ("eagle3-bs1-32-128", "eagle3-bs512", "ngram-bs1-32-128", "ngram-bs512")


def records(path: Path) -> list[Record]:
    """The records of a compressed file."""
    with tempfile.NamedTemporaryFile(suffix=".json") as unpacked:
        unpacked.write(lzma.decompress(path.read_bytes()))
        unpacked.flush()
        return read_records(unpacked.name)


def main() -> None:
    matrix = [r for name in MATRIX for r in records(RESULTS / "h200-matrix" / f"{name}.json.xz")]
    figures = {
        "categories": categories(records(RESULTS / "h200" / "vllm-eagle3-v4096.json.xz")),
        "pareto": pareto(matrix),
    }
    for name, analysis in figures.items():
        (ROOT / "docs" / "img" / f"analyze-{name}.svg").write_bytes(draw(analysis, ".svg"))


if __name__ == "__main__":
    main()
