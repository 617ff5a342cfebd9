"""Options that would change nothing, or contradict each other, are one error each."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Speedbench

NO_EFFECT = [
    ("analyze categories 1 --save x", "--save has no effect without --measure"),
    ("analyze pareto --measure model=demo --storage x", "--storage has no effect without RUN"),
    ("drafter coverage a.txt --drafter d --bs 2 --samples 9", "--samples, --bs have no effect"),
    ("drafter coverage a.txt --drafter d --storage x", "--storage has no effect unless SOURCE is"),
    ("drafter prune d --sizes 9 --frequencies 1 -o x --max-tokens 9", "--max-tokens has no effect"),
    ("export 1 --format golden --per step", "--per has no effect with --format golden"),
    ("history --html x.html --format csv", "--format has no effect with --html"),
    ("history --bisect all --html x.html", "--html has no effect with --bisect"),
    ("history --script x", "--script has no effect without --bisect CASE"),
    ("plan --samples 9 --sessions 9", "--sessions, --samples have no effect without --simulate"),
    ("plan --simulate --power 0.8", "--power has no effect with --simulate"),
    ("plan --simulate --no-replay", "--replay has no effect with --simulate"),
    ("plan --rebuild 2 --diverging 3%", "--diverging has no effect with --rebuild"),
    ("report 1 --text", "--text has no effect without --html PATH"),
    ("report 1 --html x.html --tokenizer m", "--tokenizer has no effect without --text"),
    ("splits check qualitative --no-embeddings --embeddings m", "--embeddings has no effect"),
    ("splits check qualitative --keep-good", "--keep-good has no effect on qualitative"),
    ("splits show qualitative --columns a=b", "--columns has no effect on qualitative"),
    ("splits show qualitative --model demo", "--model has no effect on qualitative"),
    ("tune --from 1 --dl 3 --save x", "--dl, --save have no effect with --from"),
    ("tune --storage x", "--storage has no effect without --from RUN or --save NAME"),
]
CONTRADICTIONS = [
    ("compare 1 2 --map dl=3:3", "both values are the same"),
    ("history alpha --case beta", "expected one CASE, got 'alpha' and 'beta'"),
    ("report 1 --html x.html --markdown x.html", "--html and --markdown name the same file"),
    ("tune --plot x.svg --json x.svg", "--plot and --json name the same file"),
    ("tune --method none", "--method none: no draft length to tune"),
    ("tune --plot x.doc", "--plot: expected a path that ends in"),
    ("analyze bias 1 --against 2 --fail x", "--fail: cannot read 'x'"),
]


@pytest.mark.parametrize(("command", "message"), [*NO_EFFECT, *CONTRADICTIONS])
def test_is_one_error_before_anything_is_read_or_measured(
    speedbench: Speedbench,
    command: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = speedbench(*command.split())
    assert (result.code, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert message in result.err
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("project")
def test_texts_are_those_of_a_comparison(speedbench: Speedbench) -> None:
    result = speedbench("report", "1", "--html", "x.html", "--text")
    assert result.code == 2
    assert "--text has no effect where nothing was compared: --against OLD" in result.err


@pytest.mark.usefixtures("project")
def test_a_margin_is_for_a_slice_that_there_is(speedbench: Speedbench) -> None:
    result = speedbench("compare", "1", "2", "--fail", "acceptance_length/alpa:5%")
    assert (result.code, result.out) == (2, "")
    assert "NEW has no slice 'alpa'; it has: alpha, all; did you mean 'alpha'?" in result.err
