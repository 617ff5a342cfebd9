"""What pydantic refuses is said without pydantic's words."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from pytest_speedbench.validation import place, problem


class Inner(BaseModel):
    count: int
    share: float = Field(0.5, gt=0, le=1, allow_inf_nan=False)
    kind: Literal["a", "b"] = "a"
    items: list[int] = Field([], max_length=2)
    name: str = ""

    @field_validator("name")
    @classmethod
    def _short(cls, name: str) -> str:
        if len(name) > 3:
            raise ValueError("give a short name")
        return name


class Outer(BaseModel):
    inner: dict[str, Inner]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, "inner.x.count: missing"),
        ({"name": "y"}, "inner.x.count: missing, there is only 'name'"),
        ({"count": "n"}, "inner.x.count: expected an integer, got 'n'"),
        ({"count": 1.5}, "inner.x.count: expected an integer, got 1.5"),
        ({"count": 1, "share": 0}, "inner.x.share: expected a number above 0, got 0"),
        ({"count": 1, "share": 2}, "inner.x.share: expected at most 1, got 2"),
        ({"count": 1, "share": float("nan")}, "inner.x.share: expected a finite number, got nan"),
        ({"count": 1, "kind": "c"}, "inner.x.kind: expected 'a' or 'b', got 'c'"),
        ({"count": 1, "items": 3}, "inner.x.items: expected a list, got 3"),
        (
            {"count": 1, "items": [1, 2, 3]},
            "inner.x.items: expected a length of at most 2, got [1, 2, 3]",
        ),
        ({"count": 1, "name": 4}, "inner.x.name: expected text, got 4"),
        ({"count": 1, "name": "long"}, "inner.x.name: give a short name"),
        (5, "inner.x: expected an object, got 5"),
    ],
)
def test_a_problem_has_its_place_what_was_expected_and_what_there_is(data: Any, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": {"x": data}})
    (error,) = caught.value.errors()
    assert f"{place(error['loc'])}: {problem(error)}" == text
