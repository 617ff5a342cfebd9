"""``speedbench history --bisect CASE``: two commits, and a script that judges those between."""

from __future__ import annotations

import glob
import json
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from pytest_speedbench.analysis.bisect import Suspects, find_suspects
from pytest_speedbench.cli.history_output import number
from pytest_speedbench.cli.output import Lines
from pytest_speedbench.errors import CliError
from pytest_speedbench.escapes import printable
from pytest_speedbench.measure.metrics import METRICS
from pytest_speedbench.secrets import HIDDEN

if TYPE_CHECKING:
    from pytest_speedbench.analysis.trends import Point, Trend


class _Script(Template):
    """``%%{name}`` is replaced."""

    delimiter = "%%"


def show_suspects(trends: Sequence[Trend], script: Path | None) -> None:
    """Prints the commits and the commands of the search; writes the script where one is wanted.

    Raises:
        CliError: several cases match, or the script cannot be written.
        BaselineError: there is nothing to bisect.
    """
    if trends[0].metric not in METRICS:
        raise CliError(f"--bisect: expected --metric to be one of {', '.join(METRICS)}")
    if len(trends) > 1:
        names = "; ".join(trend.title for trend in trends[:6])
        raise CliError(f"--bisect: {len(trends)} cases match, expected one: {names}")
    suspects = find_suspects(trends[0])
    if script is not None:
        _write(script, bisect_script(suspects))
    out = Lines()
    out.line(suspects.trend.title, "bold")
    for head, point in (("last good  ", suspects.good), ("first bad  ", suspects.bad)):
        out.exact(f"  {head}{_described(suspects, point)}")
    out.item("  evidence   ", suspects.evidence)
    for warning in _warnings(suspects):
        out.item("  note       ", warning, "yellow")
    out.line()
    for command in _commands(suspects, script):
        out.exact(command)


def _described(suspects: Suspects, point: Point) -> str:
    assert point.metric is not None
    value = f"{number(point.metric.value)} {suspects.trend.unit}".strip()
    return f"{point.commit[:12]}  {value}, run {point.run.number} of {point.run.time[:10]}"


def _warnings(suspects: Suspects) -> Iterator[str]:
    good, bad = suspects.good.commit, suspects.bad.commit
    ancestor = _git_code("merge-base", "--is-ancestor", good, bad)
    if ancestor == 1:
        yield "the good commit is not an ancestor of the bad one: git tests their merge base first"
    elif ancestor is not None and ancestor > 1:
        yield (
            "this repository lacks one of the two commits: git fetch --unshallow in a shallow "
            "clone; a branch that was force-pushed may have lost it"
        )
    if _split(suspects) is None:
        yield (
            f"no file here has the prompts of the split {suspects.trend.key.split}: name it in the "
            f"script, as split={_given_name(suspects)}PATH"
        )
    if not suspects.same_arguments:
        yield (
            "the engine's arguments differ between the two runs, so the script sets none and "
            "uses those of the project's settings"
        )


def _git_code(*arguments: str) -> int | None:
    """Exit code of git; None where there is no git."""
    try:
        return subprocess.run(
            ["git", *arguments], capture_output=True, timeout=60, check=False
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return None


def _commands(suspects: Suspects, script: Path | None) -> Iterator[str]:
    yield f"git bisect start {suspects.bad.commit} {suspects.good.commit}"
    yield f"git bisect run python {shlex.quote(str(script or 'SCRIPT'))}"
    yield "git bisect reset"
    if script is None:
        yield ""
        yield "--script SCRIPT writes the script, which measures this case and no other."


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError as error:
        raise CliError(f"--script {path}: already there; move it away first") from error


def bisect_script(suspects: Suspects) -> str:
    """A Python file that measures the case at the commit that is checked out, and judges it."""
    trend = suspects.trend
    template = (files("pytest_speedbench.cli") / "starter" / "bisect.py.txt").read_text("utf-8")
    assert suspects.good.metric is not None
    assert suspects.bad.metric is not None
    return _Script(template).substitute(
        case=printable(trend.title).replace("\\", "/").replace('"', "'"),
        metric=trend.metric,
        good=f"{suspects.good.metric.value:.6g}",
        bad=f"{suspects.bad.metric.value:.6g}",
        limit=f"{suspects.limit:.6g}",
        higher_is_better=trend.higher_is_better,
        marker=_indented(_marker(suspects)),
        options=_indented(_options(suspects)),
    )


def _marker(suspects: Suspects) -> list[str]:
    lines = [f"{name}={_literal(value)}," for name, value in marker_arguments(suspects).items()]
    if _split(suspects) is None:
        lines.append(
            "# split: the file of the prompts was not found; the project's setting applies"
        )
    return lines


def _literal(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def marker_arguments(suspects: Suspects) -> dict[str, Any]:
    """The arguments of the marker that make the case again."""
    record, key = suspects.good.record, suspects.trend.key
    sampling = record.sampling
    arguments: dict[str, Any] = {
        "engine": key.engine,
        "model": record.model.name,
        "method": key.method,
        "dl": key.dl,
        "drafter": record.spec.drafter.name if record.spec.drafter else None,
        "bs": key.bs,
        "split": _split(suspects),
        "category": key.slice,
        "samples": record.split.samples or "all",
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "min_tokens": sampling.min_tokens or None,
        "ignore_eos": sampling.ignore_eos or None,
        "prompt_form": key.prompt_form if key.prompt_form != "chat" else None,
        "prefix_caching": key.prefix_caching or None,
        "top_k": sampling.top_k or None,
        "top_p": sampling.top_p if sampling.top_p < 1 else None,
        "min_p": sampling.min_p or None,
    }
    if key.method == "none":
        del arguments["dl"]
    return {name: value for name, value in arguments.items() if value is not None}


def _split(suspects: Suspects) -> str | None:
    """How the marker names the split; None for a file that is not found in the working folder."""
    from pytest_speedbench.splits import NAMES, SplitError, load_split
    from pytest_speedbench.splits.loading import SPEED_BENCH

    record, key = suspects.good.record, suspects.trend.key
    if key.split in NAMES or key.split.startswith(SPEED_BENCH):
        return key.split
    for path in sorted(Path().rglob(f"{glob.escape(record.split.name)}.*")):
        try:
            if load_split(str(path)).digest == record.split.digest:
                return f"{_given_name(suspects)}{path}"
        except SplitError:
            continue
    return None


def _given_name(suspects: Suspects) -> str:
    """``NAME=`` for a file that was named, so that its case keeps the key; else nothing."""
    split = suspects.good.record.split
    key = suspects.trend.key.split
    return "" if split.digest.startswith(key) else f"{key}="


def _options(suspects: Suspects) -> list[str]:
    """Options that a marker cannot give; a hidden value is left to the user."""
    lines = [f'"--speed-seed={suspects.good.record.sampling.seed}",']
    if METRICS[suspects.trend.metric].scope == "slice":
        lines.append('"--speed-rounds=0",  # acceptance only')
    if suspects.same_arguments:
        for name, value in suspects.arguments.items():
            text = f"--speed-engine-arg={name}={json.dumps(value)}"
            hidden = HIDDEN in text
            lines.append(f"{'# hidden in the record: ' if hidden else ''}{json.dumps(text)},")
    return lines


def _indented(lines: Sequence[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)
