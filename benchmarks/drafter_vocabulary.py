"""What cutting a draft vocabulary costs a real EAGLE-3 head: measured, expected, and the ceiling.

    python benchmarks/drafter_vocabulary.py measure --heads v49152=DIR v4096=DIR … --storage RUNS
    python benchmarks/drafter_vocabulary.py page --heads … --storage RUNS --to PATH
    python benchmarks/drafter_vocabulary.py traces --heads v4096=DIR --traces DIR

The first head has the whole vocabulary. ``measure`` runs each head in vLLM (one session of the
ready-made suite, saved under the head's name; a name that is saved already is left out). ``page``
writes PATH.md and PATH.png, of the slices that every head has: AL of each head by category, the AL
that is expected of the whole head with each vocabulary, the ceiling, and the share of tokens
outside. ``traces`` compares the expectation with recorded runs of the whole head and of its cut to
4096 tokens on a GPU.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pytest_speedbench import Record, read_records
from pytest_speedbench.analysis.coverage import Output, SliceCoverage, measure_coverage
from pytest_speedbench.analysis.pruned_acceptance import ExpectedAcceptance, expect_by_slice
from pytest_speedbench.analysis.target_outputs import outputs_of_records
from pytest_speedbench.baselines.storage import Store
from pytest_speedbench.stats import StepTrace

SUITE = "pytest_speedbench.suites"
COLOURS = ("#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#009E73", "#CC79A7")


@dataclass(frozen=True)
class Head:
    """One drafter: its records by slice, and what its vocabulary costs the whole head."""

    name: str
    size: int
    records: Mapping[str, Record]
    slices: Mapping[str, SliceCoverage]
    expected: Mapping[str, ExpectedAcceptance]

    def al(self, name: str) -> float:
        """Measured AL of a slice."""
        metric = self.records[name].metric("acceptance_length")
        assert metric is not None
        return metric.value


def measure(options: argparse.Namespace) -> None:
    for name, folder in heads_of(options):
        if Store(options.storage).has(name):
            print(f"{name}: saved already")
            continue
        command = [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", SUITE),
            *("--speed-engine", "vllm", "--speed-model", options.model),
            *("--speed-method", "eagle3", "--speed-drafter", str(Path(folder).resolve())),
            *("--speed-dl", str(options.dl), "--speed-bs", str(options.bs), "--speed-rounds", "0"),
            *("--speed-samples", options.samples, "--speed-max-tokens", str(options.tokens)),
            *(("--speed-category", options.category) if options.category else ()),
            *("--speed-replay", "off"),
            *(part for own in options.engine_arg for part in ("--speed-engine-arg", own)),
            *(f"--benchmark-storage={options.storage}", f"--benchmark-save={name}"),
        ]
        print("+", " ".join(command), flush=True)
        subprocess.run(command, check=True)


def heads_of(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    for given in options.heads:
        name, _, folder = given.partition("=")
        yield name, folder


def read_heads(options: argparse.Namespace) -> list[Head]:
    from pytest_speedbench.engines.checkpoints import local_checkpoint
    from pytest_speedbench.engines.draft_vocabulary import draft_vocabulary

    names = dict(heads_of(options))
    runs = {name: read_records(name, options.storage) for name in names}
    whole, outputs = outputs_of_records(next(iter(runs.values())))
    dl = whole.spec.draft_length
    found = []
    for name, folder in names.items():
        ids = draft_vocabulary(local_checkpoint(folder)).token_ids
        slices = measure_coverage(outputs, ids, [dl])
        expected = expect_by_slice(outputs, ids, dl)
        kept = [i for i, own in enumerate(slices) if own.axis != "language"]
        found.append(
            Head(
                name,
                len(ids),
                {record.case.slice: record for record in runs[name]},
                {slices[i].name: slices[i] for i in kept},
                {slices[i].name: expected[i] for i in kept},
            )
        )
    return found


def page(options: argparse.Namespace) -> None:
    heads = read_heads(options)
    options.to.parent.mkdir(parents=True, exist_ok=True)
    lines = list(table(heads))
    options.to.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    draw(heads, options.to.with_suffix(".png"))
    print("\n".join(lines))


def table(heads: Sequence[Head]) -> Iterator[str]:
    first, *cut = heads
    yield "AL measured / expected / ceiling, at the runs' DL; then the share of tokens outside."
    yield ""
    yield f"| slice | n | {first.name} | " + " | ".join(head.name for head in cut) + " |"
    yield "| --- " * (len(heads) + 2) + "|"
    for name in shared_slices(heads):
        n = first.slices[name].samples
        cells = [f"{first.al(name):.2f} / – / {first.slices[name].ceilings[0].whole:.2f}"]
        for head in cut:
            own = head.slices[name]
            cells.append(
                f"{head.al(name):.2f} / {head.expected[name].expected:.2f} / "
                f"{own.ceilings[0].acceptance_length:.2f}<br>{own.share_outside:.1%}"
            )
        yield f"| {name} | {n} | " + " | ".join(cells) + " |"


def traces(options: argparse.Namespace) -> None:
    """Loss of AL from the whole vocabulary to 4096 tokens: measured on a GPU, and expected."""
    from gate_traces import load_traces

    from pytest_speedbench.engines.checkpoints import local_checkpoint
    from pytest_speedbench.engines.draft_vocabulary import draft_vocabulary

    ((_, folder),) = heads_of(options)
    ids = draft_vocabulary(local_checkpoint(folder)).token_ids
    runs = {(run.family, run.bs): run.traces for run in load_traces(options.traces)}
    whole, cut = (
        next(family for family, _ in runs if name in family)
        for name in ("full vocabulary", "4096 tokens")
    )
    print("| BS | slice | n | AL, whole | AL, 4096 | loss | expected loss | ceiling's loss |")
    print("| --- " * 8 + "|")
    for bs in (32, 128):
        outputs = [
            Output(t.sample, t.stratum, "", t.token_ids, t.prefill_tokens, t.steps)
            for t in runs[whole, bs]
        ]
        expected = expect_by_slice(outputs, ids, 3)
        for own, found in zip(measure_coverage(outputs, ids, [3]), expected, strict=True):
            al = acceptance_length(runs[cut, bs], own.name)
            print(
                f"| {bs} | {own.name} | {own.samples} | {found.measured:.2f} | {al:.2f} "
                f"| {1 - al / found.measured:.1%} | {found.loss:.1%} | {own.ceilings[0].loss:.1%} |"
            )


def acceptance_length(recorded: Sequence[StepTrace], name: str) -> float:
    own = [trace for trace in recorded if name in ("all", trace.stratum)]
    return sum(t.decode_tokens for t in own) / sum(t.step_count for t in own)


def shared_slices(heads: Sequence[Head]) -> list[str]:
    """The categories that every head was measured on, then all."""
    names = [name for name in heads[0].slices if all(name in head.records for head in heads)]
    return sorted(names, key=lambda name: name == "all")


def draw(heads: Sequence[Head], path: Path) -> None:
    """Above: AL by category, a bar a head, expected AL as a line on it. Below: tokens outside."""
    from matplotlib.figure import Figure

    names = shared_slices(heads)
    figure = Figure(figsize=(10, 7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    places, width = np.arange(len(names)), 0.8 / len(heads)
    for number, head in enumerate(heads):
        at = places + (number - (len(heads) - 1) / 2) * width
        colour = COLOURS[number % len(COLOURS)]
        above.bar(at, [head.al(name) for name in names], width, color=colour, label=head.name)
        below.bar(
            at, [100 * head.slices[name].share_outside for name in names], width, color=colour
        )
        if number:
            expected = [head.expected[name].expected for name in names]
            above.scatter(at, expected, marker="_", s=60, color="black", zorder=3)
    above.scatter([], [], marker="_", s=60, color="black", label="expected from the first head")
    above.set_ylim(bottom=1)
    above.set_ylabel("acceptance length (tokens/step)")
    figure.legend(ncols=len(heads) + 1, fontsize=8, loc="outside upper center")
    below.set_ylabel("tokens outside (%)")
    below.set_xticks(places, names, rotation=30, ha="right")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["measure", "page", "traces"])
    parser.add_argument("--heads", nargs="+", required=True, metavar="NAME=DIR")
    parser.add_argument("--storage", type=Path, default=Path(".benchmarks"))
    parser.add_argument("--traces", type=Path, help="folder of recorded traces")
    parser.add_argument("--to", type=Path, default=Path("vocabulary"))
    parser.add_argument("--model", default="demo")
    parser.add_argument("--dl", type=int, default=3)
    parser.add_argument("--bs", type=int, default=4)
    parser.add_argument("--samples", default="4")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--category", default="", help="only these, a comma list")
    parser.add_argument("--engine-arg", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    {"measure": measure, "page": page, "traces": traces}[options.action](options)


if __name__ == "__main__":
    main()
