"""Writes docs/record.schema.json: the JSON Schema of a record, from its pydantic model.

python tools/write_record_schema.py
"""

from __future__ import annotations

import json
from pathlib import Path

from pytest_speedbench.baselines.schema import Record

FILE = Path(__file__).parents[1] / "docs" / "record.schema.json"


def text() -> str:
    """The schema as it is published."""
    schema = Record.model_json_schema(by_alias=True, mode="validation")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
