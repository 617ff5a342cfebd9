"""The matrix method × DL × BS on a GPU: sittings that can be resumed, and one page from them all.

    python benchmarks/gpu_matrix.py run --model MODEL --drafter HEAD --records DIR \
        --method ngram --dl 1,3,5,7 --workers 2 --seconds 575
    python benchmarks/gpu_matrix.py page --records DIR --to benchmarks/results/h100

``run`` is one sitting: a session of pytest over the given method and draft lengths and every batch
size, the engines of a worker up together, with and without speculation in turns. What the records
in DIR already hold is left out, so that a sitting cut short, by its own time limit too, is
completed by giving the same command again. Each sitting saves its records as one file.
"""

from __future__ import annotations

import argparse
import lzma
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from matrix_records import Key, load_records

MATRIX = Path(__file__).parent / "matrix"
ROOT = Path(__file__).parents[1]
# 44 samples at BS 1, 220 at BS 32, all 880 above; repeated by the plugin to 4 × BS a round.
PLAN = "1:4,32:20,128:all,512:all"
# Seconds that one worker needs for a batch size: two draft lengths and no speculation, two rounds.
NEEDED = {1: 80.0, 32: 45.0, 128: 75.0, 512: 200.0}
# Of a GPU's memory, for all engines of a worker together.
MEMORY = 0.9


def run(options: argparse.Namespace) -> int:
    """One sitting; the exit code of its pytest session, 0 where nothing was left to do."""
    started = time.time()
    plan = dict(part.split(":") for part in options.plan.split(","))
    lengths = [int(length) for length in options.dl.split(",")]
    have = set(load_records(options.records))
    missing = {
        int(bs): samples
        for bs, samples in plan.items()
        if any(Key(options.method, dl, int(bs)) not in have for dl in lengths)
    }
    wanted = [
        dl for dl in lengths if any(Key(options.method, dl, bs) not in have for bs in missing)
    ]
    if not missing:
        print("every case of this sitting is recorded")
        return 0
    latest = {bs: started + options.seconds - NEEDED.get(bs, 60.0) for bs in missing}
    environment = os.environ | {
        "MATRIX_PLAN": ",".join(f"{bs}:{samples}" for bs, samples in missing.items()),
        "MATRIX_LATEST": ",".join(f"{bs}:{moment:.0f}" for bs, moment in latest.items()),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        # With speculation vLLM may choose another model runner than without: the same for all.
        "VLLM_USE_V2_MODEL_RUNNER": os.environ.get("VLLM_USE_V2_MODEL_RUNNER", "0"),
    }
    command = _command(options, wanted, len(have))
    print("+", " ".join(command), flush=True)
    done = subprocess.run(command, env=environment, cwd=MATRIX, check=False)
    _compress(options.records)
    print(f"sitting: {time.time() - started:.0f} s", flush=True)
    return done.returncode


def _command(options: argparse.Namespace, lengths: Sequence[int], number: int) -> list[str]:
    beside = -(-len(lengths) // max(1, options.workers)) + 1
    arguments = [
        f"gpu_memory_utilization={MEMORY / beside:.2f}",
        *(options.engine_arg or ["max_model_len=8192"]),
    ]
    command = [sys.executable, "-m", "pytest", "test_matrix.py", "-q", "-W", "default"]
    command += ["-p", "no:cacheprovider", "-p", "no:randomly", "-rs"]
    if not _installed():
        command += ["-p", "pytest_speedbench.plugin"]
    if options.workers > 1:
        command += ["-n", str(options.workers)]
    command += ["--speed-engine", options.engine, "--speed-model", str(options.model)]
    command += [
        "--speed-method",
        f"none,{options.method}",
        "--speed-dl",
        ",".join(map(str, lengths)),
    ]
    if options.method != "ngram":
        command += ["--speed-drafter", str(options.drafter)]
    command += [
        "--speed-rounds",
        str(options.rounds),
        "--speed-max-tokens",
        str(options.max_tokens),
    ]
    command += [word for argument in arguments for word in ("--speed-engine-arg", argument)]
    name = f"{options.method}-{'-'.join(map(str, lengths))}-{number:02}"
    command += [
        f"--benchmark-storage=file://{options.records.resolve()}",
        f"--benchmark-save={name}",
    ]
    return command


def _installed() -> bool:
    from importlib.metadata import entry_points

    return any(point.name == "speedbench" for point in entry_points(group="pytest11"))


def _compress(folder: Path) -> None:
    """Each saved file as ``NAME.json.xz`` at the top of ``folder``."""
    for path in folder.rglob("*.json"):
        (folder / f"{path.stem}.json.xz").write_bytes(lzma.compress(path.read_bytes(), preset=9))
        path.unlink()


def page(options: argparse.Namespace) -> int:
    """Tables and figures from every record below the folder."""
    from matrix_page import write_page

    write_page(load_records(options.records), options.to, options.overhead)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    sitting = commands.add_parser("run", help="one sitting")
    sitting.add_argument("--engine", default="vllm", help="another one is for a rehearsal")
    sitting.add_argument("--model", default="demo")
    sitting.add_argument("--drafter", default=ROOT / "drafters" / "smollm2-135m-eagle3-v4096")
    sitting.add_argument("--records", type=Path, required=True)
    sitting.add_argument("--method", choices=("ngram", "eagle3"), required=True)
    sitting.add_argument("--dl", default="1,3,5,7")
    sitting.add_argument("--plan", default=PLAN, help="BS:SAMPLES of each category,…")
    sitting.add_argument("--workers", type=int, default=1, help="of pytest-xdist, a GPU for each")
    sitting.add_argument("--rounds", type=int, default=2)
    sitting.add_argument("--max-tokens", type=int, default=128)
    sitting.add_argument("--seconds", type=float, default=575.0, help="a BS must end before")
    sitting.add_argument("--engine-arg", action="append", metavar="KEY=VALUE")
    sitting.set_defaults(function=run)
    results = commands.add_parser("page", help="tables and figures")
    results.add_argument("--records", type=Path, required=True)
    results.add_argument("--to", type=Path, required=True)
    results.add_argument("--overhead", type=Path, nargs="*", default=[])
    results.set_defaults(function=page)
    options = parser.parse_args()
    code: int = options.function(options)
    return code


if __name__ == "__main__":
    sys.exit(main())
