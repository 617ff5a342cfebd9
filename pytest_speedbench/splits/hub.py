"""``nvidia/SPEED-Bench`` from the Hugging Face hub, for users who accepted its licence.

The public files hold placeholders; only what its own preparation step resolved can be measured,
and the row reader refuses the rest. A local folder of its parquet files needs no hub: give the
path, ``FOLDER/qualitative`` or ``FOLDER:qualitative``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from pytest_speedbench.errors import SplitError

from .errors import optional_import, unknown
from .formats import FORMATS, RowError
from .model import BUCKETS, CATEGORIES, TIERS, Sample, Split, make_split, name_rows

CONFIGURATIONS: Final = ("qualitative", *(f"throughput_{bucket}" for bucket in BUCKETS))
LICENCE: Final = "NVIDIA Evaluation Dataset License Agreement"


def speed_bench_slices(configuration: str) -> tuple[str, ...]:
    """Return the slices of a SPEED-Bench configuration, known without the data."""
    return CATEGORIES if _known(configuration) == "qualitative" else TIERS


@lru_cache(maxsize=4)
def load_speed_bench(name: str, configuration: str) -> Split:
    """Download (or take from the hub cache) one configuration; split ``test``.

    Raises SplitError for an unknown configuration, without the ``datasets`` package, where the hub
    cannot be reached, and for unresolved placeholder rows.
    """
    chosen = _known(configuration)
    datasets: Any = optional_import("datasets", "hub", f"loading {name}")
    try:
        rows = datasets.load_dataset(name, chosen, split="test")
    except Exception as error:
        raise SplitError(
            f"cannot load {name} ({chosen}) from the hub: {error}. Accept its licence on the hub "
            "and run `hf auth login`, or give a local folder of its prepared parquet files"
        ) from error
    return make_split(f"{name}:{chosen}", _samples(rows, f"{name}:{chosen}"), licence=LICENCE)


def _samples(rows: Any, where: str) -> list[Sample]:
    convert = FORMATS[0].convert
    samples = []
    for number, row in enumerate(rows, start=1):
        try:
            sample = convert(row)
        except RowError as error:
            raise SplitError(f"{where}, row {number}: {error}") from None
        samples.append(sample if sample.id else replace(sample, row=(where, number)))
    return list(name_rows(samples))


def _known(configuration: str) -> str:
    chosen = configuration or "qualitative"
    if chosen not in CONFIGURATIONS:
        raise unknown("configuration of nvidia/SPEED-Bench", chosen, CONFIGURATIONS)
    return chosen
