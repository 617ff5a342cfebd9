"""The HTML page: everything is on it, nothing foreign gets through, and the verdict is plain."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from pytest_speedbench.compare.results import SessionResults
from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.errors import ReportError
from pytest_speedbench.report.html.page import render_html
from tests.report.conftest import estimate, record, result

pytestmark = pytest.mark.usefixtures("plain_figures")

VOID = {"meta", "link", "br", "img", "input", "hr"}
CATEGORIES = ("coding", "math", "qa")


class Page(HTMLParser):
    """Tags, text and attributes; complains of a tag that closes what is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def grid(*words: Outcome) -> list:
    return [
        result(record(name, dl, bs), *words)
        for dl in (1, 3)
        for bs in (1, 8)
        for name in CATEGORIES
    ]


def test_every_row_of_every_run_is_on_the_page() -> None:
    text = render_html(SessionResults(grid(Outcome.PASS), comparing=True, family="α = 0.01"))
    page = Page(text)
    assert page.tags.count("tr") >= 4 * (1 + len(CATEGORIES))
    for dl in (1, 3):
        for bs in (1, 8):
            assert f"vllm · m · eagle3 · DL {dl} · head · BS {bs}" in page.text
    for name in CATEGORIES:
        assert text.count(f'<th role="rowheader" scope="row">{name}</th>') == 4
    for number in ("2.50", "2.40–2.60", "2.55", "2.61", "52%", "-1.00%", "[-3.0%, +1.0%]"):
        assert page.text.count(number) >= 12
    assert "α = 0.01." in page.text


def test_the_page_needs_nothing_from_outside() -> None:
    page = Page(render_html(SessionResults(grid())))
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(page.tags)
    links = [value for name, value in page.attributes if name in ("href", "src", "action")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_every_link_within_the_page_leads_somewhere() -> None:
    page = Page(render_html(SessionResults(grid(Outcome.PASS), problems=["x"])))
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for name, value in page.attributes:
        if name == "href":
            assert value.removeprefix("#") in ids
        if name in ("aria-labelledby",):
            assert value in ids


HOSTILE = '<script>alert(1)</script>\x1b[31m\u202e\ud800" onmouseover="x\' {{ 7*7 }}'


def test_hostile_text_is_shown_and_never_obeyed() -> None:
    hostile = record(
        HOSTILE,
        model={"name": HOSTILE, "weights": HOSTILE},
        engine={
            "name": HOSTILE,
            "version": HOSTILE,
            "device": HOSTILE,
            "dtype": HOSTILE,
            "args": {HOSTILE: HOSTILE},
            "details": {HOSTILE: HOSTILE},
        },
        notes=[HOSTILE],
        method=HOSTILE,
    )
    second = record(HOSTILE, bs=8, method=HOSTILE)
    text = render_html(
        SessionResults(
            [result(hostile, Outcome.FAIL, reason=HOSTILE), result(second, group="b")],
            family=HOSTILE,
            comparing=True,
            failure=HOSTILE,
            problems=[HOSTILE],
            saved=["a/<b>.json"],
        )
    )
    page = Page(text)
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"\x1b[31m" in page.text
    assert "{{ 7*7 }}" in page.text
    assert "<b>.json" in page.text
    text.encode("utf-8")


@pytest.mark.parametrize("outcome", Outcome)
def test_a_verdict_is_a_word_and_not_a_colour_alone(outcome: Outcome) -> None:
    text = render_html(SessionResults([result(record(), outcome)], comparing=True))
    assert re.search(rf'<h2 id="run-1-title">.*<span class="badge \w+">.*{outcome.value}', text)
    in_a_row = re.search(rf'class="gate"><span class="badge \w+">.*{outcome.value}', text)
    assert (in_a_row is None) == (outcome is Outcome.NO_BASELINE)  # every row would have the same
    assert f"<li>{outcome.value}: math: because" in text


def test_without_a_comparison_there_is_no_gate_column() -> None:
    assert 'class="gate"' not in render_html(SessionResults([result(record())]))


def test_a_slower_speculation_is_said_plainly() -> None:
    slow = record(metrics={"speedup": estimate(0.6, 0.5, 0.7)})
    text = render_html(SessionResults([result(slow)]))
    assert 'class="speed bad">speedup 0.60x [0.50, 0.70], SD IS SLOWER than no SD' in text


def test_one_point_has_no_grid_and_no_throughput() -> None:
    text = render_html(SessionResults([result(record(name)) for name in CATEGORIES]))
    assert "Over draft length and batch size" not in text


def test_grid_of_speedups_with_a_hole() -> None:
    cases = [
        result(record(dl=1, bs=1)),
        result(record(dl=1, bs=8, metrics={"speedup": estimate(0.8, 0.7, 0.9)})),
        result(record(dl=3, bs=8, metrics={"speedup": estimate(1.1, 0.9, 1.3)})),
    ]
    text = render_html(SessionResults(cases))
    cells = re.findall(
        r'<td class="(\w+)"><b>([\d.x]+).*?</b><span>(.*?)</span><span>(.*?)</span>', text
    )
    assert cells == [
        ("good", "1.40x", "1.30–1.50", "faster"),
        ("bad", "0.80x", "0.70–0.90", "slower"),
        ("open", "1.10x", "0.90–1.30", "looks faster"),
    ]
    assert '<th scope="row">DL 3</th><td>–</td><td class="open">' in text
    assert "best of this batch size" in text
    assert '<th scope="row">no SD</th><td>100 tok/s</td><td>800 tok/s</td>' in text


def test_two_drafters_of_one_case_are_two_runs() -> None:
    spec = {"method": "eagle3", "draft_length": 3, "drafter": {"name": "other"}}
    page = Page(
        render_html(
            SessionResults([result(record(), group="a"), result(record(spec=spec), group="b")])
        )
    )
    assert "AL of each drafter, DL 3, BS 1" in page.text
    assert "head other math 2.50 2.50" in page.text
    assert "eagle3 · DL 3 · head · BS 1" in page.text
    assert "; drafter head" in page.text
    assert "; drafter other" in page.text


def test_acceptance_by_position_shows_what_was_never_drafted() -> None:
    page = Page(render_html(SessionResults([result(record())])))
    assert "1 2 3 vllm · m · eagle3 · DL 3 · head · BS 1 70% 50% –" in page.text


def test_missing_numbers_are_dashes() -> None:
    bare = record(
        metrics=dict.fromkeys(
            (
                "acceptance_length",
                "acceptance_length_macro",
                "acceptance_rate",
                "speedup",
                "output_tps",
                "reference_tps",
                "user_tps",
                "acceptance_by_position",
            )
        ),
        rounds=[],
        reference_rounds=[],
    )
    page = Page(render_html(SessionResults([result(bare)])))
    assert "math – – – – 2.61 –" in page.text
    assert "no throughput was measured" in page.text


def test_environment_is_told_once_for_runs_that_share_it() -> None:
    text = render_html(SessionResults(grid()))
    assert text.count("<dt>machine fingerprint</dt>") == 1
    assert "and 3 more" in text
    for fact in ("0.32.0", "max_model_len=4096", "weights w1", "digest d1", "2 cores", "head"):
        assert fact in text


def test_the_command_runs_the_same_case_again() -> None:
    text = render_html(SessionResults([result(record(name)) for name in CATEGORIES]))
    command = re.search("<pre[^>]*><code>(.*?)</code>", text)
    assert command
    assert command[1] == (
        "pytest --pyargs pytest_speedbench.suites --speed-engine=vllm "
        "--speed-model=m --speed-method=eagle3 --speed-drafter=head --speed-dl=3 --speed-bs=1 "
        "--speed-split=qualitative --speed-category=coding,math,qa --speed-samples=8 "
        "--speed-max-tokens=128 --speed-temperature=0 --speed-seed=0 --speed-rounds=3 "
        "--speed-engine-arg=max_model_len=4096"
    )


def test_problems_and_saved_files_are_on_the_page() -> None:
    page = Page(
        render_html(SessionResults(grid(), problems=["NOT SAVED: disk"], saved=["0001_x.json"]))
    )
    assert "NOT SAVED: disk" in page.text
    assert "Saved: 0001_x.json" in page.text


def test_the_foot_tells_when_it_was_written() -> None:
    text = render_html(SessionResults(grid()), now=datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
    assert "2026-01-02 03:04 UTC" in text


def test_without_jinja2_the_message_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ReportError, match=r"pip install 'pytest-speedbench\[report\]'"):
        render_html(SessionResults(grid()))


def test_a_session_writes_the_page(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.speed(category="math", samples=2, max_tokens=16)
        def test_gate(speed):
            assert speed.acceptance_length >= 1
        """
    )
    done = pytester.runpytest_inprocess(
        "-W",
        "always",
        "--speed-engine=simulated",
        "--speed-method=eagle3",
        "--speed-model=sim",
        "--speed-report=page.html",
    )
    done.assert_outcomes(passed=1)
    page = Page((pytester.path / "page.html").read_text(encoding="utf-8"))
    assert "simulated · sim · eagle3 · DL 3 · BS 1" in page.text
