"""Draws docs/img/architecture.svg: the layers, from the contract that import-linter checks.

    python tools/draw_architecture.py

Names and order come from pyproject.toml, the text of each box from the docstring of the package.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pytest_speedbench"
PICTURE = ROOT / "docs" / "img" / "architecture.svg"
WIDTH, HEIGHT, GAP, ARROW = 860, 44, 8, 40
# Boxes bring their own background, so that they read alike on a light and on a dark page.
STYLE = """
  .box { fill: #e8eaf6; stroke: #5c6bc0; }
  .name { font: 600 14px ui-monospace, monospace; fill: #1a237e; }
  .text { font: 12px system-ui, sans-serif; fill: #37474f; }
  .arrow { stroke: #7986cb; stroke-width: 2; fill: none; }
  .head { fill: #7986cb; }
  .note { font: 12px system-ui, sans-serif; fill: #7986cb; }
"""


def layers() -> list[list[str]]:
    """The layers from top to bottom, each with the packages that stand side by side in it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (contract,) = (c for c in contracts if c["type"] == "layers")
    rows = ([name.strip(" ()") for name in row.split(":")] for row in contract["layers"])
    return [there for row in rows if (there := [name for name in row if summary(name)])]


def summary(name: str) -> str:
    """First sentence of a package's or module's docstring; empty if it does not exist."""
    path = PACKAGE / name / "__init__.py"
    path = path if path.exists() else PACKAGE / f"{name}.py"
    if not path.exists():
        return ""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".").replace("``", "") or name


def draw(rows: list[list[str]]) -> str:
    """The picture as SVG text."""
    height = len(rows) * (HEIGHT + GAP) + GAP
    boxes = "\n".join(line for number, row in enumerate(rows) for line in _row(number, row))
    middle = height // 2
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">
<title>The packages of pytest_speedbench; each imports only from those below it</title>
<style>{STYLE}</style>
<path class="arrow" d="M 20 {GAP} V {height - 2 * GAP}"/>
<path class="head" d="M 14 {height - 2 * GAP} h 12 l -6 {GAP + 2} z"/>
<text class="note" transform="rotate(-90 12 {middle})" x="12" y="{middle}">imports</text>
{boxes}
</svg>
"""


def _row(number: int, names: list[str]) -> Iterator[str]:
    top = GAP + number * (HEIGHT + GAP)
    width = (WIDTH - ARROW - GAP * len(names)) // len(names)
    for place, name in enumerate(names):
        left = ARROW + place * (width + GAP)
        shown = f"{name}/" if (PACKAGE / name).is_dir() else f"{name}.py"
        yield f'<rect class="box" x="{left}" y="{top}" width="{width}" height="{HEIGHT}" rx="6"/>'
        yield f'<text class="name" x="{left + 12}" y="{top + 18}">{escape(shown)}</text>'
        yield f'<text class="text" x="{left + 12}" y="{top + 35}">{escape(summary(name))}</text>'


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(layers()), encoding="utf-8")
