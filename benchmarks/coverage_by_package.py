"""Line coverage of each package, from coverage's JSON report; fails below a floor.

Run: ``tox -e coverage``, or after ``coverage combine`` of such a run
``coverage json -o coverage.json && python benchmarks/coverage_by_package.py coverage.json``.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path, PurePosixPath

FLOOR = 85.0
ROOT = "pytest_speedbench"


def by_package(report: dict[str, object]) -> dict[str, tuple[int, int]]:
    """Package below ``pytest_speedbench`` → lines covered, lines in all."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    files = report["files"]
    assert isinstance(files, dict)
    for name, file in files.items():
        parts = PurePosixPath(name).parts
        if ROOT not in parts:
            continue
        inside = parts[parts.index(ROOT) + 1 :]
        package = inside[0] if len(inside) > 1 else "(top level)"
        sums[package][0] += file["summary"]["covered_lines"]
        sums[package][1] += file["summary"]["num_statements"]
    return {package: (covered, lines) for package, (covered, lines) in sorted(sums.items())}


def main() -> int:
    found = by_package(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    low = []
    for package, (covered, lines) in found.items():
        share = 100 * covered / max(1, lines)
        print(f"{package:14} {lines:6} lines  {share:5.1f} %")
        if share < FLOOR:
            low.append(package)
    if low:
        print(f"below {FLOOR:g} %: {', '.join(low)}")
    return bool(low)


if __name__ == "__main__":
    sys.exit(main())
