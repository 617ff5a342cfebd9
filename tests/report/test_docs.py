"""The documentation says what the code does: options, names, fields, links and worked examples."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from pytest_speedbench.baselines.case_key import KEY_FIELDS
from pytest_speedbench.baselines.measured import RoundRecord
from pytest_speedbench.baselines.provenance import MachineRecord, SamplingRecord
from pytest_speedbench.baselines.requests import RequestRecord
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.verdict import Outcome, Verdict
from pytest_speedbench.engines import engine_type
from pytest_speedbench.engines import simulated as simulated_engine
from pytest_speedbench.engines.protocol import (
    Counters,
    EngineType,
    RequestTotals,
    Speculation,
    Trace,
)
from pytest_speedbench.engines.registry import _BUILTIN
from pytest_speedbench.measure.check import check_traces
from pytest_speedbench.measure.counted import count
from pytest_speedbench.measure.metrics import request_traces
from pytest_speedbench.measure.results import Turn
from pytest_speedbench.plan.options import command_line_options, marker_arguments
from pytest_speedbench.plan.values import GATED_METRICS
from pytest_speedbench.session.collection import FIXTURES
from pytest_speedbench.stats import StepTrace, macro_al, micro_al
from pytest_speedbench.stats.estimates import acceptance_by_position, acceptance_rate

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
ROW = re.compile(r"^\| (.*) \|$", re.M)


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """The text below a heading, up to the next one."""
    return re.split(r"^#+ ", text.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.M)[0]


def table(text: str) -> list[list[str]]:
    """The cells of every row of every table."""
    rows = [re.split(r" *\| *", row) for row in ROW.findall(text)]
    return [[_bare(cell) for cell in row] for row in rows if set(row[0]) - set("- :")]


def _bare(cell: str) -> str:
    code = re.fullmatch(r"`([^`]*)`", cell.strip())
    return code[1] if code else cell.strip()


# -- options --------------------------------------------------------------------------------


def test_options_named_on_any_page_exist() -> None:
    flags = {option.flag for option in command_line_options()}
    inis = {option.ini for option in command_line_options()}
    for path in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"--speed-[a-z-]*[a-z]", text)) <= flags, path.name
        named = set(re.findall(r"^(speed_\w+) *=", text, re.M))
        assert named <= inis, path.name


# -- names ----------------------------------------------------------------------------------


def test_marker_arguments_and_fixtures_are_all_named() -> None:
    text = page("at-the-desk")
    named = [name for row in table(text) for name in re.findall(r"\w+", row[0])]
    assert set(marker_arguments()) <= set(named)
    assert set(FIXTURES) <= set(named)


def test_attributes_of_speed_exist() -> None:
    from pytest_speedbench.session.result import SpeedResult

    rows = table(section(page("at-the-desk"), "Attributes of `speed`"))[1:]
    for row in rows:
        for name in re.findall(r"[a-z_]+", row[0].split("(")[0]):
            assert hasattr(SpeedResult, name), name


@pytest.mark.parametrize("name", _BUILTIN)
def test_engine_table_is_that_of_the_code(name: str) -> None:
    row = next(row for row in table(page("engines")) if row[0] == name)
    engine = engine_type(name)
    assert tuple(row[2].split(", ")) == engine.methods
    assert row[3].startswith("no") == (engine.max_speculative_batch == 1)
    assert row[4] == ("yes" if engine.switches else "no")
    assert engine.extra in row[1]


def test_arguments_of_the_simulated_engine_are_all_named() -> None:
    told = set(re.findall(r"^``([\w.]+)``", simulated_engine.__doc__ or "", re.M))
    rows = table(section(page("engines"), "simulated"))
    assert told == {name for row in rows for name in re.findall(r"[\w.]+", row[0])} - {"argument"}


def test_fields_of_an_engine_type_exist() -> None:
    rows = table(section(page("writing-an-engine"), "What an adapter declares"))[1:]
    named = {name for row in rows for name in re.findall(r"\w+", row[0])}
    assert named == set(EngineType.__dataclass_fields__)


@pytest.mark.parametrize("outcome", Outcome)
def test_every_verdict_is_explained_with_what_it_does(outcome: Outcome) -> None:
    row = next(row for row in table(page("gate")) if row[0] == outcome.value)
    verdict = Verdict("case", "acceptance_length", outcome)
    assert ("**fails**" in row[2]) == verdict.fails("warn", require_baseline=False)
    if outcome is Outcome.UNDECIDED:
        assert verdict.fails("fail", False)
    if outcome is Outcome.NO_BASELINE:
        assert verdict.fails("warn", True)


def test_gated_metrics_are_named() -> None:
    line = next(line for line in page("gate").splitlines() if "Metrics:" in line)
    assert re.findall(r"`([a-z_]+)`", line) == list(GATED_METRICS)


def fields(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def test_fields_of_a_record_are_all_documented() -> None:
    rows = table(page("records").split("## Fields", 1)[1].split("## In Python", 1)[0])
    parts = {name: row[1] for row in rows for name in re.findall(r"\w+", row[0])}
    requests = fields(RequestRecord)
    assert (fields(Record) | requests) <= set(parts)
    for name, text, wanted in (
        ("case", parts["case"], set(KEY_FIELDS)),
        ("sampling", parts["sampling"], fields(SamplingRecord)),
        ("machine", parts["machine"], fields(MachineRecord)),
        ("rounds", parts["rounds"], fields(RoundRecord)),
    ):
        assert wanted <= set(re.findall(r"(\w+)`", text)), name


# -- links ----------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    found = set()
    for heading in headings:
        own = re.search(r"\{ #([\w-]+) \}", heading)
        plain = re.sub(r"[^\w\s-]", "", heading).strip().lower()
        found.add(own[1] if own else re.sub(r"[\s-]+", "-", plain))
    return found


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), target


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {path.relative_to(DOCS).as_posix() for path in PAGES}
    assert set(re.findall(r"([\w/-]+\.md)", text)) == pages


# -- worked examples ------------------------------------------------------------------------


def trace(sample: str, steps: list[int], drafted: list[int], accepted: list[int]) -> StepTrace:
    ids = np.arange(1 + sum(steps))
    return StepTrace(
        sample, "math", 0, 1, np.array(steps), ids, np.array(drafted), np.array(accepted)
    )


API = re.findall(r"^::: (\S+)", "".join(p.read_text() for p in (DOCS / "api").glob("*.md")), re.M)


@pytest.mark.parametrize("name", API)
def test_the_reference_shows_what_it_names(name: str) -> None:
    """A package that can be called hides its function; the site knows no roles of Sphinx."""
    module, _, attribute = name.rpartition(".")
    found = getattr(import_module(module), attribute)
    assert inspect.ismodule(found) == (name == "pytest_speedbench.errors")
    own = [value for key, value in inspect.getmembers(found) if not key.startswith("_")]
    texts = [str(inspect.getdoc(value)) for value in (found, *own)]
    assert not re.search(r":(func|class|meth|mod|attr|data):`", "".join(texts))


def test_the_worked_example_of_acceptance_length() -> None:
    a = trace("a", [4, 2, 3, 1, 1], [3] * 5, [3, 1, 2, 0, 3])  # the last step was cut to 1 of 4
    b = trace("b", [2, 1], [3] * 2, [1, 0])
    assert a.output_tokens == 12
    assert b.output_tokens == 4
    assert micro_al([a]).value == pytest.approx(2.20)
    assert micro_al([b]).value == pytest.approx(1.50)
    assert micro_al([a, b]).value == pytest.approx(2.00)
    assert macro_al([a, b]).value == pytest.approx(1.85)
    assert acceptance_rate([a]).value == pytest.approx(9 / 15)  # before the cut
    text = page("measurement")
    for number in ("= 2.20", "= 1.50", "**2.00**", "**1.85**"):
        assert number in text


def test_the_worked_example_of_engines_that_tell_less() -> None:
    one = Trace("a", 1, 0.0, chunks=[12], times=[0.0], totals=RequestTotals(5, 15, 9))
    two = Trace("b", 1, 0.0, chunks=[4], times=[0.0], totals=RequestTotals(2, 6, 1))
    check_traces([one, two], Speculation("eagle3", 3))
    turns = [Turn("a", "math", 0, one), Turn("b", "math", 0, two)]
    assert micro_al(request_traces(turns)).value == pytest.approx(2.00)
    assert macro_al(request_traces(turns)).value == pytest.approx(1.85)
    counted = count([one, two], 2, Speculation("eagle3", 3), Counters(7, 21, 10))
    assert counted.acceptance_length == 2.00
    bounded = count([one, two], 2, Speculation("ngram", 3), Counters(0, 21, 10))
    assert (bounded.steps, bounded.steps + bounded.hidden) == (4, 10)
    text = section(page("measurement"), "Engines that report less")
    for words in ("14 / 7 = **2.00**", "14 − 10 = 4, at most 4 + 2 · 3 = 10", "1.40 and 3.50"):
        assert words in text


def test_without_the_engines_counts_the_cut_step_is_left_out_by_position() -> None:
    steps = np.array([4, 2, 3, 1, 1])
    bare = StepTrace("a", "math", 0, 1, steps, np.arange(12))
    first = acceptance_by_position([bare], 3)[0]
    assert first is not None
    assert first.value == pytest.approx(3 / 4)


def test_the_example_where_the_engine_says_3_5_and_the_truth_is_2_11() -> None:
    steps, drafts = [1, 1, 1, 3, 3, 4, 4, 1, 1], [0, 0, 0, 3, 3, 3, 3, 0, 0]
    accepted = [0, 0, 0, 2, 2, 3, 3, 0, 0]
    lookup = trace("a", steps, drafts, accepted)
    assert lookup.output_tokens == 20
    assert micro_al([lookup]).value == pytest.approx(19 / 9)
    told = [a for a, d in zip(accepted, drafts, strict=True) if d]
    assert 1 + sum(told) / len(told) == 3.5
    text = page("measurement")
    assert "**3.5**" in text
    assert "19 / 9 = **2.11**" in text
    row = next(row for row in table(text) if row[0] == "tokens")
    assert [int(cell.split()[0]) for cell in row[1:]] == [1, *steps]


def test_the_engine_of_the_guide_runs(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    code = re.findall(r"```python\n(.*?)```", page("writing-an-engine"), re.S)[0]
    pytester.makepyfile(my_engine=code)
    pytester.syspathinsert()
    monkeypatch.setitem(_BUILTIN, "my-engine", "my_engine")
    request.addfinalizer(engine_type.cache_clear)
    done = pytester.runpytest_inprocess(
        "--pyargs",
        "pytest_speedbench.suites",
        "--speed-engine=my-engine",
        "--speed-method=none",
        "--speed-model=any",
        "--speed-samples=1",
        "--speed-max-tokens=8",
        "--speed-category=all",
    )
    done.assert_outcomes(passed=1)


def test_the_examples_of_a_test_collect(pytester: pytest.Pytester) -> None:
    for number, name in enumerate(("index", "at-the-desk")):
        code = re.findall(r"```python\n(.*?)```", page(name), re.S)[0]
        pytester.makepyfile(**{f"test_page_{number}": code})
    done = pytester.runpytest_inprocess("--collect-only", "-q", "--speed-model=sim")
    assert done.ret == 0
    done.stdout.fnmatch_lines(
        ["*test_prompt_lookup?math-bs1-dl3?", "*test_lookup_pays?all-bs32-dl3?"]
    )


@pytest.mark.parametrize(
    ("expression", "ids"),
    [
        ("bs1", ["all-bs1-dl1", "all-bs1-dl10", "all-bs128-dl1", "all-bs128-dl10"]),
        ("bs1-", ["all-bs1-dl1", "all-bs1-dl10"]),
        ("dl1]", ["all-bs1-dl1", "all-bs128-dl1"]),
        ("bs128 and dl10", ["all-bs128-dl10"]),
    ],
)
def test_what_k_selects(pytester: pytest.Pytester, expression: str, ids: list[str]) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.speed(bs=[1, 128], dl=[1, 10], category="all", engine="simulated")
        def test_gate(speed):
            pass
        """
    )
    done = pytester.runpytest("--collect-only", "-q", "-k", expression)
    found = [line for line in done.outlines if "::" in line]
    assert sorted(re.findall(r"\[(.*)\]", "\n".join(found))) == sorted(ids)
