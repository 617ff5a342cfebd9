"""Pages in a browser: axe-core finds no violation, and nothing is wider than the screen."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.compare.changes import Change
from pytest_speedbench.compare.results import SessionResults
from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.report.html.page import render_html
from pytest_speedbench.report.texts import Texts
from tests.compare.saved_runs import record as with_requests
from tests.report.conftest import record, result

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
AXE = find_spec("axe_playwright_python")
pytestmark = pytest.mark.skipif(
    not CHROMIUM or AXE is None, reason="needs Chromium and the package axe-playwright-python"
)


@pytest.fixture(scope="module")
def page() -> str:
    """A page with every view: a failed run with prompts, a grid, and a note."""
    measured = with_requests("all", accept=0.4)
    requests = {"requests": measured.requests}
    old = record("all", requests=with_requests("all", accept=0.7).requests)
    cases = [
        result(record(name, dl, bs, **(requests if name == "all" else {})), outcome, baseline=old)
        for dl, bs, outcome in (
            (3, 1, Outcome.FAIL),
            (3, 8, Outcome.UNDECIDED),
            (5, 8, Outcome.NOT_GATED),
        )
        for name in ("coding", "all")
    ]
    for case in cases:
        case.changes = (Change("engine.version", "0.31", "0.32"),)
    pytest.importorskip("matplotlib")
    results = SessionResults(cases, "α = 0.01", comparing=True, skipped={"no GPU": 2})
    texts = Texts(lambda ids: " ".join(map(str, ids)), {f"s{n}": ("<b>hi</b>",) for n in range(40)})
    return render_html(results, texts=lambda record: texts)


def browsed(text: str, folder: Path, width: int, dark: bool) -> dict[str, Any]:
    """What axe-core finds in a page with every fold open, and how wide the page is."""
    assert AXE is not None
    assert AXE.submodule_search_locations
    axe = Path(AXE.submodule_search_locations[0], "axe.min.js").read_text(encoding="utf-8")
    opened = re.sub("<meta http-equiv.*?>", "", text).replace("<details", "<details open")
    script = (
        "axe.run().then(found => parent.postMessage({"
        "wide: document.documentElement.scrollWidth,"
        "violations: found.violations.map(v => [v.id, v.nodes.map(n => n.html.slice(0, 200))])},"
        "'*'))"
    )
    inner, outer = folder / "page.html", folder / "frame.html"
    inner.write_text(opened.replace("</body>", f"<script>{axe}\n{script}</script></body>"))
    # In a frame, since a headless window is never as narrow as a phone.
    outer.write_text(
        "<pre id=found></pre><script>onmessage = event =>"
        "document.getElementById('found').textContent = btoa(JSON.stringify(event.data))</script>"
        f"<iframe src=page.html width={width} height=900 style='border: 0'></iframe>"
    )
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            f"--user-data-dir={folder}/profile",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--window-size=1400,1000",
            "--virtual-time-budget=20000",
            outer.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search('<pre id="found">(.+?)</pre>', done.stdout, re.S)
    assert found, done.stdout[-2000:]
    said: dict[str, Any] = json.loads(base64.b64decode(found[1]))
    return said


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1280, True)])
def test_the_report_of_a_session(page: str, tmp_path: Path, width: int, dark: bool) -> None:
    said = browsed(page, tmp_path, width, dark)
    assert said["violations"] == []
    assert said["wide"] <= width
