"""Makes the pictures of docs/reports.md: every view of the reports, from sessions measured here.

python tools/draw_reports.py

Needs Chromium, and the extras `report` and `curation`; the sessions are of the simulated engine.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import markdown
from PIL import Image, ImageChops
from rich.console import Console
from rich.text import Text

from pytest_speedbench.baselines.storage import SavedRun, Store
from pytest_speedbench.cli import app
from pytest_speedbench.compare.results import SessionResults
from pytest_speedbench.report.html.page import render_html
from pytest_speedbench.report.markdown import render_markdown
from pytest_speedbench.report.terminal import WIDEST, summary_lines
from pytest_speedbench.report.texts import read_texts

IMAGES = Path(__file__).parents[1] / "docs" / "img"
DESKTOP, PHONE = 1280, 390
_TALL = 6000
_COLOURS = 192
OPTIONS = (
    "--speed-engine=simulated",
    "--speed-model=org/target",
    "--speed-method=eagle3",
    "--speed-max-tokens=96",
)
FEW = ("--speed-category=all", "--speed-samples=4", "--speed-rounds=3")
SESSIONS = {
    "base": ("--speed-drafter=head-a",),
    "worse": (
        "--speed-drafter=head-a",
        "--speed-compare",
        "--speed-engine-arg=acceptance=0.55",
        "--speed-engine-arg=draft_ms=2",
        "--speed-engine-arg=divergence=0.01",
    ),
    "sweep": ("--speed-drafter=head-a", "--speed-dl=1,3,5,7", "--speed-bs=1,8,32", *FEW),
    "drafters": ("--speed-drafter=head-a,head-b", "--speed-engine-arg=acceptance.head-b=0.5"),
}
NIGHTS = (0.7, 0.7, 0.72, 0.7, 0.71, 0.5, 0.5)
"""Acceptance of a draft token, night after night."""
# What a picture shows of a page: all of <main> but what this selector does not match is hidden.
HEADER, RUN = "header", "#run-1"
GRID, DRAFTERS = "[aria-labelledby=grid]", "[aria-labelledby=drafters]"
# And of a run.
HEAD = "h2, p:not(h3.prompts ~ p), ul, h3:not(.prompts), .scroll"
FIGURES = ".pair, .slices"
PROMPTS = "h3.prompts, h3.prompts ~ *"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)  # paths are shown relative to it
        store = Store(folder / ".benchmarks", option="")
        for session, options in SESSIONS.items():
            measure(folder, session, options)
        runs = {run.name.partition("_")[2]: run for run in store.runs()}
        results = {name: shown(run, store) for name, run in runs.items()}
        worse = render_html(results["worse"], texts=read_texts)
        browser = Browser(folder)
        browser.picture("verdict", worse, f"{HEADER}, {RUN}", within=HEAD)
        browser.picture("phone", worse, f"{HEADER}, {RUN}", within=HEAD, width=PHONE)
        browser.picture("figures", worse, RUN, within=FIGURES)
        browser.picture("dark", worse, RUN, within=FIGURES, dark=True)
        browser.picture("prompts", opened(worse), RUN, within=PROMPTS)
        browser.picture("grid", render_html(results["sweep"]), f"{HEADER}, {GRID}")
        browser.picture("drafters", render_html(results["drafters"]), DRAFTERS)
        browser.picture("markdown", as_page(render_markdown(results["worse"])), "*")
        browser.picture("history", history(folder), "*")
        for name in ("worse", "sweep"):
            terminal(name, results[name])
        browser.picture("split", split_check(folder), "*")


def measure(folder: Path, session: str, options: tuple[str, ...]) -> None:
    """One saved session; one that fails its gate has been saved as well."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["--pyargs", "pytest_speedbench.suites", *OPTIONS, *options]
    command += [f"--benchmark-save={session}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stdout + done.stderr)


def history(folder: Path) -> str:
    """The page of ``speedbench history`` after some nights, the last two of them worse."""
    nights = folder / "nights"
    nights.mkdir()
    for night, acceptance in enumerate(NIGHTS, 1):
        options = (f"--speed-engine-arg=acceptance={acceptance}", *FEW[:2], "--speed-rounds=0")
        measure(nights, "night", options)
        saved = max(nights.rglob("*_night.json"))
        run = json.loads(saved.read_text(encoding="utf-8"))
        run["datetime"] = f"2026-11-{night:02}T02:00:00+00:00"
        saved.write_text(json.dumps(run), encoding="utf-8")
    return written(folder, "history", "--storage", f"{nights}/.benchmarks")


def split_check(folder: Path) -> str:
    """The page of ``speedbench splits check``."""
    return written(folder, "splits", "check", "qualitative")


def written(folder: Path, *command: str) -> str:
    """The page that a command writes with ``--html``."""
    page = folder / f"{command[0]}.html"
    if app([*command, "--html", str(page)], standalone_mode=False):
        raise SystemExit(f"speedbench {' '.join(command)} failed")
    return page.read_text(encoding="utf-8")


def shown(run: SavedRun, store: Store) -> SessionResults:
    return SessionResults.of_saved_run(run, store.runs())


def opened(page: str) -> str:
    """The page with its first prompt unfolded."""
    return page.replace('<details class="prompt">', '<details class="prompt" open>', 1)


def as_page(text: str) -> str:
    """Markdown as GitHub shows it, nearly."""
    body = markdown.markdown(text, extensions=["tables", "md_in_html"])
    style = (
        "body{font:14px/1.5 system-ui;max-width:60rem;margin:1rem auto;padding:0 1rem}"
        "table{border-collapse:collapse}td,th{border:1px solid #d0d7de;padding:.3rem .7rem}"
    )
    head = f"<!doctype html><html><head><style>{style}</style></head>"
    return f"{head}<body><main>{body}</main></body></html>"


class Browser:
    """Chromium without a window."""

    def __init__(self, folder: Path) -> None:
        names = ("chromium", "chromium-browser", "google-chrome")
        self.program = next(filter(None, map(shutil.which, names)), "")
        if not self.program:
            raise SystemExit("needs Chromium on the PATH")
        self.folder = folder

    def picture(
        self,
        name: str,
        page: str,
        shown: str,
        *,
        within: str = "",
        width: int = DESKTOP,
        dark: bool = False,
    ) -> None:
        """Writes ``report-NAME.png``: what ``shown`` selects, and ``within`` inside of it."""
        hidden = f"main > :not({shown}) {{ display: none }}"
        if within:
            hidden += f" {RUN} > :not({within}) {{ display: none }}"
        path, target = self.folder / f"{name}.html", IMAGES / f"report-{name}.png"
        path.write_text(page.replace("</head>", f"<style>{hidden}</style></head>"))
        subprocess.run(
            [
                *(self.program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                f"--user-data-dir={self.folder}/profile",
                f"--blink-settings=preferredColorScheme={0 if dark else 1}",
                f"--window-size={width},{_TALL}",
                f"--screenshot={target}",
                path.as_uri(),
            ],
            check=True,
            capture_output=True,
        )
        image = trimmed(Image.open(target).convert("RGB"))
        # Few pixels have the colour of a verdict, or most of those of a colour map.
        image = image.quantize(_COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=2)
        image.save(target, optimize=True)


def trimmed(image: Image.Image) -> Image.Image:
    """Without the empty rows at the bottom."""
    empty = Image.new("RGB", image.size, image.getpixel((0, image.height - 1)))
    box = ImageChops.difference(image, empty).getbbox()
    return image.crop((0, 0, image.width, min(image.height, box[3] + 12))) if box else image


def terminal(name: str, results: SessionResults) -> None:
    """Writes ``report-terminal-NAME.svg``."""
    console = Console(record=True, width=WIDEST, file=io.StringIO())
    for line in summary_lines(results, WIDEST):
        colour = next((c for c in ("red", "yellow", "green") if line.markup.get(c)), "")
        style = f"{'bold ' if line.markup.get('bold') else ''}{colour}".strip()
        console.print(Text(line.text, style=style or "default"), soft_wrap=True)
    svg = console.export_svg(title="pytest", unique_id=f"report-{name}")
    # The font is the page's: nothing is loaded from elsewhere.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)
    (IMAGES / f"report-terminal-{name}.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
