"""Tables and figures of the matrix, from its records alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from matrix_records import Key

from pytest_speedbench.baselines.measured import MetricRecord
from pytest_speedbench.baselines.records import traces_of
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.gate import Levels, gate
from pytest_speedbench.compare.match import compare_identity, identity_of
from pytest_speedbench.compare.verdict import Verdict
from pytest_speedbench.stats import by_stratum, divide_alpha, micro_al

Records = Mapping[Key, Record]
MARGIN, ALPHA = 0.02, 0.01
NOTHING = "–"


def write_page(records: Records, folder: Path, overhead: Sequence[Path]) -> None:
    """``README.md`` and the figures in ``folder``; ``overhead`` are files of client_overhead.py."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [*_head(records), *_speed(records), *_best(records), *_acceptance(records)]
    lines += [*_load(records), *_healthy(records), *_overhead(overhead)]
    (folder / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _figures(records, folder)
    print("\n".join(lines))


def _head(records: Records) -> Iterator[str]:
    first = next(iter(records.values()))
    cards = sorted({record.engine.device for record in records.values()})
    yield f"# {first.engine.name} {first.engine.version} on {', '.join(cards)}"
    yield ""
    yield (
        f"{first.model.name}, {first.engine.dtype}, `{first.split.name}` {first.split.version} "
        f"(digest `{first.split.digest[:8]}…`), greedy, at most {first.sampling.max_tokens} "
        f"tokens, {len(first.rounds)} rounds in turns. Tables by `benchmarks/gpu_matrix.py page`."
    )
    yield ""


def _methods(records: Records) -> list[str]:
    return sorted({key.method for key in records if key.method != "none"})


def _axis(keys: Iterable[Key], name: str) -> list[int]:
    return sorted({getattr(key, name) for key in keys})


def _of(records: Records, method: str) -> dict[Key, Record]:
    return {key: record for key, record in records.items() if key.method == method}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "| " + " | ".join(["---"] * len(head)) + " |"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def _interval(metric: MetricRecord | None, form: str = ".2f") -> str:
    if metric is None:
        return NOTHING
    if metric.low is None or metric.high is None:
        return f"{metric.value:{form}}"
    return f"{metric.value:{form}} [{metric.low:{form}}, {metric.high:{form}}]"


def _metric(record: Record | None, name: str) -> MetricRecord | None:
    return None if record is None else record.metric(name)


def _speed(records: Records) -> Iterator[str]:
    """Tokens/s and speedup over BS and DL, the figure 7 of SPEED-Bench as a table."""
    for method in _methods(records):
        own = _of(records, method)
        lengths = _axis(own, "dl")
        for title, name, form in (
            ("speedup over no SD", "speedup", ".2f"),
            ("output tokens/s", "output_tps", ",.0f"),
        ):
            yield f"## {method}: {title}"
            yield ""
            yield from _table(
                ["BS", *(f"DL {dl}" for dl in lengths), "no SD, tokens/s"],
                (
                    [
                        str(bs),
                        *(
                            _interval(_metric(own.get(Key(method, dl, bs)), name), form)
                            for dl in lengths
                        ),
                        _plain(own, method, bs),
                    ]
                    for bs in _axis(own, "bs")
                ),
            )


def _plain(own: Records, method: str, bs: int) -> str:
    """The arm beside it: of several, each belongs to the draft lengths measured with it."""
    values = [
        f"{metric.value:,.0f}"
        for key, record in sorted(own.items())
        if key.bs == bs and (metric := record.metric("reference_tps"))
    ]
    return ", ".join(dict.fromkeys(values)) or NOTHING


def _best(records: Records) -> Iterator[str]:
    yield "## The best draft length"
    yield ""
    rows = []
    for method in _methods(records):
        own = _of(records, method)
        for bs in _axis(own, "bs"):
            found = {
                key.dl: metric.value
                for key, record in own.items()
                if key.bs == bs and (metric := record.metric("speedup"))
            }
            if found:
                best = max(found, key=lambda dl: found[dl])
                rows.append([method, str(bs), str(best), f"{found[best]:.2f}"])
    yield from _table(["method", "BS", "best DL", "speedup"], rows)


def _acceptance(records: Records) -> Iterator[str]:
    """AL by category at the BS with the most samples, its smallest."""
    for method in _methods(records):
        own = _of(records, method)
        most = max(len(record.requests) for record in own.values())
        bs = min(key.bs for key, record in own.items() if len(record.requests) == most)
        chosen = {key.dl: record for key, record in sorted(own.items()) if key.bs == bs}
        strata = {dl: by_stratum(traces_of(record)) for dl, record in chosen.items()}
        yield f"## {method}: AL by category, BS {bs}"
        yield ""
        names = sorted({name for found in strata.values() for name in found})
        rows = [[name, *(_value(strata[dl].get(name)) for dl in chosen)] for name in names]
        total = [_value(micro_al(traces_of(record))) for record in chosen.values()]
        yield from _table(["category", *(f"DL {dl}" for dl in chosen)], [*rows, ["all", *total]])


def _value(estimate: object) -> str:
    value, low, high = (getattr(estimate, name, None) for name in ("value", "low", "high"))
    if value is None:
        return NOTHING
    return f"{value:.2f}" if low is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _load(records: Records) -> Iterator[str]:
    """Throughput against what one user sees."""
    yield "## Throughput against user tokens/s"
    yield ""
    rows = [
        [
            key.method if key.method == "none" else f"{key.method} DL {key.dl}",
            str(key.bs),
            _interval(record.metric("output_tps"), ",.0f"),
            _interval(record.metric("user_tps"), ",.1f"),
            _interval(record.metric("ttft"), ".3f"),
        ]
        for key, record in sorted(records.items())
    ]
    yield from _table(["", "BS", "output tokens/s", "user tokens/s", "TTFT, s"], rows)


def _healthy(records: Records) -> Iterator[str]:
    """The same build at another batch size: a healthy rebuild, for the gate to pass."""
    pairs = [
        (key, key._replace(bs=other))
        for key in sorted(records)
        for other in _axis(records, "bs")
        if key.method != "none" and other > key.bs and key._replace(bs=other) in records
    ]
    if not pairs:
        return
    levels = Levels(ALPHA, divide_alpha(ALPHA, [1.0] * len(pairs))[0])
    yield f"## The same build at another BS, through the gate (margin {MARGIN:.0%}, α {ALPHA:.0%})"
    yield ""
    rows = [
        [
            f"{old.method} DL {old.dl}",
            f"{old.bs} → {new.bs}",
            *_judged(records[old], records[new], levels),
        ]
        for old, new in pairs
    ]
    yield from _table(
        ["", "BS", "change of AL", "interval of the gate", "common prefix", "verdict"], rows
    )


def _judged(old: Record, new: Record, levels: Levels) -> list[str]:
    match = compare_identity(old, None, identity_of(new))
    verdict: Verdict = gate(str(new.case), new, match, "acceptance_length", MARGIN, levels)
    change = NOTHING if verdict.ratio is None else f"{verdict.ratio - 1:+.2%}"
    ends = (
        NOTHING
        if verdict.low is None or verdict.high is None
        else f"{verdict.low - 1:+.2%} to {verdict.high - 1:+.2%}"
    )
    cover = NOTHING if verdict.coverage is None else f"{verdict.coverage:.0%}"
    return [change, ends, cover, verdict.outcome.value]


def _overhead(files: Sequence[Path]) -> Iterator[str]:
    rows = []
    for path in files:
        for told in json.loads(path.read_text(encoding="utf-8")):
            rows.append(
                [
                    told["arm"],
                    told["device"].removeprefix("NVIDIA "),
                    str(told["bs"]),
                    f"{told['offline_tps']:,.0f}",
                    f"{told['plugin_tps']:,.0f}",
                    f"{told['ratio']:.3f} ({told['lowest']:.3f} to {told['highest']:.3f})",
                    f"{told['client_us_per_token']:.1f}",
                ]
            )
    if not rows:
        return
    yield "## Through the plugin over vLLM's own offline loop"
    yield ""
    yield from _table(
        [
            "",
            "GPU",
            "BS",
            "`LLM.generate`, tokens/s",
            "plugin, tokens/s",
            "ratio",
            "client, µs a token",
        ],
        rows,
    )


def _figures(records: Records, folder: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    methods = _methods(records)
    figure, axes = plt.subplots(1, len(methods), figsize=(5 * len(methods), 4), squeeze=False)
    for axis, method in zip(axes[0], methods, strict=True):
        own = _of(records, method)
        sizes = _axis(own, "bs")
        for number, bs in enumerate(sizes):
            points = [
                (key.dl, metric.value, *_reach(metric))
                for key, record in sorted(own.items())
                if key.bs == bs and (metric := record.metric("speedup"))
            ]
            lengths, values, below, above = zip(*points, strict=True)
            # Beside one another, so that the intervals of one draft length can be told apart.
            beside = [length + 0.15 * (number - (len(sizes) - 1) / 2) for length in lengths]
            axis.errorbar(
                beside, values, yerr=(below, above), marker="o", capsize=3, label=f"BS {bs}"
            )
        axis.axhline(1.0, color="grey", linewidth=0.8)
        axis.set(title=method, xlabel="draft length", ylabel="speedup over no SD", ylim=(0, None))
        axis.set_xticks(_axis(own, "dl"))
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=len(sizes))
    figure.tight_layout()
    figure.savefig(folder / "speedup.svg")
    figure, axis = plt.subplots(figsize=(6, 4.5))
    for arm in sorted({(key.method, key.dl) for key in records}):
        points = sorted(
            (user.value, output.value)
            for key, record in records.items()
            if (key.method, key.dl) == arm
            and (user := record.metric("user_tps"))
            and (output := record.metric("output_tps"))
        )
        name = "no SD" if arm[0] == "none" else f"{arm[0]} DL {arm[1]}"
        axis.plot(*zip(*points, strict=True), marker="o", label=name)
    axis.set(xlabel="user tokens/s", ylabel="output tokens/s", yscale="log", xscale="log")
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
        scale.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        scale.set_minor_formatter(NullFormatter())
    axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(folder / "throughput.svg")


def _reach(metric: MetricRecord) -> tuple[float, float]:
    """How far its interval goes below and above its value; 0 where it has none."""
    if metric.low is None or metric.high is None:
        return 0.0, 0.0
    return metric.value - metric.low, metric.high - metric.value
