"""Named, versioned sets of samples: loaders, builders, curation.

Importing this package is cheap: numpy, datasets, pyarrow, sentence-transformers and matplotlib
are imported only inside the functions that need them.
"""

from __future__ import annotations

from pytest_speedbench.errors import SplitError, SplitWarning

from .bundled import data_dir
from .identity import RowsInCommon, rows_in_common
from .legacy import legacy_digest, legacy_ids
from .loading import (
    NAMES,
    RANDOM,
    RANDOM_LENGTHS,
    SplitListing,
    built_for_tokenizer,
    divide_name,
    given_name,
    list_splits,
    load_split,
    split_key,
    split_slices,
    throughput_bucket,
)
from .model import (
    ALL,
    BUCKETS,
    CATEGORIES,
    TIERS,
    Axis,
    Sample,
    Split,
    TargetTokenizer,
    make_split,
    require_context,
)

__all__ = [
    "ALL",
    "BUCKETS",
    "CATEGORIES",
    "NAMES",
    "RANDOM",
    "RANDOM_LENGTHS",
    "TIERS",
    "Axis",
    "RowsInCommon",
    "Sample",
    "Split",
    "SplitError",
    "SplitListing",
    "SplitWarning",
    "TargetTokenizer",
    "built_for_tokenizer",
    "data_dir",
    "divide_name",
    "given_name",
    "legacy_digest",
    "legacy_ids",
    "list_splits",
    "load_split",
    "make_split",
    "require_context",
    "rows_in_common",
    "split_key",
    "split_slices",
    "throughput_bucket",
]
