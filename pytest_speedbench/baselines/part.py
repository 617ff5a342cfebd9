"""What all parts of a record have in common."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Count: TypeAlias = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """A part of a record. Unknown fields come from a later minor version: they are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)


def fields_of(part: BaseModel) -> dict[str, Any]:
    """What this version knows of a part of a record; later ones may have added to it."""
    return {name: getattr(part, name) for name in type(part).model_fields}
