"""The statistics of the bundled split, as splits/README.md states them.

Prints the digest, the table and the list of the card. Exits with 1 where a bound is broken: a
category is less diverse than its bound or than random draws, two prompts are too near each other,
or one is too near a Spec-Bench prompt, or a category has too few multi-turn samples.

Run: python benchmarks/split_card.py [--pool splits/pool]
     --spec-bench PATH/question.jsonl
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pytest_speedbench.splits import Sample, Split, load_split
from pytest_speedbench.splits.check import (
    CheckReport,
    check_split,
    nearest_pairs,
    partner_of,
    script_mix,
)
from pytest_speedbench.splits.curate import distinct, is_long, is_not_latin, random_similarity
from pytest_speedbench.splits.embedding import Embedder, embed_samples
from pytest_speedbench.splits.writing import read_pool

BOUNDS: Final = {
    "coding": 0.234,
    "humanities": 0.142,
    "math": 0.188,
    "multilingual": 0.398,
    "qa": 0.121,
    "rag": 0.10,
    "reasoning": 0.126,
    "roleplay": 0.093,
    "stem": 0.096,
    "summarization": 0.120,
    "writing": 0.190,
}
"""Greatest mean pairwise similarity: that of Spec-Bench's nearest category, but for rag."""

MULTITURN: Final = 0.2
HEADS: Final = (
    "category",
    "candidates",
    "multi-turn",
    "words of first turn, min / median / max",
    "easy / medium / hard",
    "sub-categories",
    "similarity",
    "random",
    "Spec-Bench",
)
LANGUAGES: Final = {
    "Assembly": r"assembly|RV32I",
    "AppleScript": r"AppleScript",
    "C": r"\bin C(?![\w#+])|^C, |char \*|STM32",
    "C#": r"C#",
    "C++": r"C\+\+",
    "CSS and HTML": r"\bCSS\b|<div|<html|\bprinting!",
    "CUDA": r"\bCUDA\b",
    "Dart": r"\b[Dd]art\b|Flutter",
    "F#": r"F#",
    "Fortran": r"Fortran",
    "GLSL": r"GLSL",
    "Go": r"^go: |\bGolang\b|\bin Go\b",
    "Haskell": r"Haskell",
    "Java": r"\bJava\b",
    "JavaScript": r"JavaScript|```js|\bjs\b|jQuery|Node\b",
    "Kotlin": r"Kotlin|\.kt\b|Fragment with",
    "LaTeX": r"LaTeX|TikZ|pdflatex",
    "Lua": r"\bLua\b",
    "Make and CMake": r"[Mm]akefile|CMake",
    "MATLAB": r"MATLAB",
    "Nix": r"\bNix\b",
    "PHP": r"\bPHP\b|functions\.php",
    "PowerShell": r"PowerShell",
    "Prolog": r"[Pp]rolog",
    "Python": r"[Pp]ython|pandas|pygame|Tkinter|Qiskit|Manim",
    "R": r"\bin R\b|In R |ggplot",
    "Ruby": r"\bRuby\b|\bRails\b",
    "Rust": r"\bRust\b|\brust\b",
    "Scala": r"\bScala\b",
    "shell": r"\bbash\b|\bcron\b|`df -h`|\bzsh\b",
    "SQL": r"\bsql\b|SQL|SQLite|Postgres",
    "Swift": r"\bSwift\b",
    "TypeScript": r"TypeScript",
    "VBA and spreadsheet formulas": r"\bVBA\b|Excel|Google Sheets",
    "Verilog and VHDL": r"Verilog|VHDL",
    "Zig": r"\bZig\b",
}
"""Programming languages by what names them in a prompt; a prompt may have several."""


def main() -> int:
    """Print the statistics and what breaks a bound; 1 if anything does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pool", type=Path, default=Path("splits/pool"))
    parser.add_argument("--spec-bench", required=True, help="question.jsonl of Spec-Bench")
    args = parser.parse_args()
    split, other = load_split("qualitative"), load_split(args.spec_bench)
    embedder = Embedder()
    report = check_split(split, other, embedder=embedder)
    theirs = {
        line.slice: line.mean for line in check_split(other, embedder=embedder).similarity or ()
    }
    random = _random(args.pool, {name: len(split.select(name)) for name in split.slices})
    print(f"qualitative {split.version}, {len(split.samples)} prompts, digest {split.digest}\n")
    print("\n".join(_table(split, report, read_pool(args.pool), random, theirs)))
    print("\n" + "\n".join(f"- {line}" for line in _facts(split, report, embedder)))
    broken = _broken(split, report, random)
    print("\nbounds: " + ("; ".join(broken) if broken else "all kept"))
    return int(bool(broken))


def _random(pool: Path, sizes: dict[str, int]) -> dict[str, float]:
    found = {}
    for name, samples in read_pool(pool).items():
        rows = embed_samples(samples)
        found[name] = random_similarity(rows[distinct(rows)], sizes[name], seed=0)
    return found


def _table(
    split: Split,
    report: CheckReport,
    pools: dict[str, tuple[Sample, ...]],
    random: dict[str, float],
    theirs: dict[str, float],
) -> list[str]:
    means = {line.slice: line.mean for line in report.similarity or ()}
    lines = [_row(HEADS), _row("---" for _ in HEADS)]
    for name in split.slices:
        samples = split.select(name)
        words = sorted(len(sample.turns[0].split()) for sample in samples)
        hard = Counter(sample.difficulty for sample in samples)
        cells = (
            name,
            len(pools[name]),
            sum(sample.multiturn for sample in samples),
            f"{words[0]} / {statistics.median(words):.0f} / {words[-1]:,}",
            " / ".join(str(hard[level]) for level in ("easy", "medium", "hard")),
            len({sample.sub_category for sample in samples}),
            f"{means[name]:.3f}",
            f"{random[name]:.3f}",
            f"{theirs[partner_of(name, theirs)]:.3f}",
        )
        lines.append(_row(cells))
    return lines


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _facts(split: Split, report: CheckReport, embedder: Embedder) -> list[str]:
    samples = split.samples
    turns = Counter(len(sample.turns) for sample in samples)
    multi = sum(sample.multiturn for sample in samples)
    pair = nearest_pairs(samples, embedder.rows(split), above=0.5)[0]
    nearest = report.nearest_other
    assert nearest is not None
    speech = Counter(sample.language for sample in split.select("multilingual"))
    code = programming_languages(split.select("coding"))
    long = Counter(sample.category for sample in samples if is_long(sample))
    middling = Counter(s.category for s in samples if 300 <= len(s.turns[0].split()) <= 500)
    other_script = sum(map(is_not_latin, split.select("multilingual")))
    scripts = (f"{name.title()} {count}" for name, count in script_mix(samples))
    return [
        f"Multi-turn: {multi} of {len(samples)} ({multi / len(samples):.0%}); turns per sample: "
        + _counted(dict(sorted(turns.items())), ": ")
        + ".",
        f"First turns of 300 to 500 words: {_counted(dict(sorted(middling.items())))}; above 900: "
        f"{_counted(dict(sorted(long.items())))}.",
        f"Nearest pair in the whole split: {pair.similarity:.3f} (`{pair.left}`, `{pair.right}`); "
        f"limit 0.85. Exact duplicates: {len(report.duplicates)}.",
        f"Nearest to any Spec-Bench prompt: {nearest.similarity:.3f} (`{nearest.left}`, its "
        f"question {nearest.right}); limit 0.9.",
        f"Languages in `multilingual`: {len(speech)} ({_counted(dict(sorted(speech.items())))}); "
        f"{other_script} of its prompts are mainly in another script than Latin. Scripts over the "
        f"whole split: {', '.join(scripts)}.",
        f"Programming languages named or shown in `coding`: {len(code)} ({_counted(code)}); a "
        "prompt may have several.",
    ]


def programming_languages(samples: Iterable[Sample]) -> dict[str, int]:
    """Count the prompts that name or show each language, the most frequent first."""
    counts = Counter(
        name
        for sample in samples
        for name, pattern in LANGUAGES.items()
        if re.search(pattern, "\n".join(sample.turns), re.MULTILINE)
    )
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def _counted(counts: dict[str, int] | dict[int, int], between: str = " ") -> str:
    return ", ".join(f"{name}{between}{count}" for name, count in counts.items())


def _broken(split: Split, report: CheckReport, random: dict[str, float]) -> list[str]:
    found = []
    for line in report.similarity or ():
        limit = min(BOUNDS[line.slice], random[line.slice])
        if line.mean > limit:
            found.append(f"{line.slice}: similarity {line.mean:.3f} above {limit:.3f}")
    for name in split.slices:
        share = statistics.fmean(sample.multiturn for sample in split.select(name))
        if share < MULTITURN:
            found.append(f"{name}: {share:.0%} multi-turn")
    found += [f"{p.left} and {p.right}: {p.similarity:.3f}" for p in report.near or ()]
    found += [f"{p.left} and Spec-Bench {p.right}" for p in report.close_to_other or ()]
    return found


if __name__ == "__main__":
    sys.exit(main())
