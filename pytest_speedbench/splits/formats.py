"""One small converter per known row format, in one table; the first that fits is taken.

To add a format: write a function ``row -> Sample`` that raises RowError for a bad row, and a line
in ``FORMATS`` with the columns that give it away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from pytest_speedbench.errors import SplitError

from .errors import unknown
from .model import ALL, Sample

Row: TypeAlias = Mapping[str, Any]
PLACEHOLDER: Final = "FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE"
MAX_TEXT: Final = 16 * 2**20
"""Most characters of one message: far above any prompt."""
MAX_LABEL: Final = 500
"""Most characters of an id, a category and other names."""
DEFAULT_CATEGORY: Final = "default"
FIELDS: Final = (
    "id",
    "category",
    "prompt",
    "turns",
    "messages",
    "system",
    "sub_category",
    "difficulty",
    "language",
    "source",
    "licence",
)
MAP_COLUMNS: Final = (
    "--columns {0}=COLUMN (pytest: --speed-columns {0}=COLUMN; Python: columns={{'{0}': 'COLUMN'}})"
)
"""How a user names a column; to be formatted with our field."""
PROMPT_NAMES: Final = ("prompt", "text", "question", "instruction", "query", "input", "content")


class RowError(SplitError):
    """What is wrong with one row, and the fix; the reader adds file and row number."""


@dataclass(frozen=True, slots=True)
class Format:
    """A row format: a row fits when it has all of ``needs``."""

    name: str
    needs: frozenset[str]
    convert: Callable[[Row], Sample]


def detect(row: Row, columns: Mapping[str, str] | None = None) -> Format:
    """Return the format of a file from its first good row, or the mapped one for ``columns``.

    Raises RowError listing the row's columns where none fits, SplitError for an unknown field name
    in ``columns``.
    """
    if columns is not None:
        return _mapped(columns)
    for form in FORMATS:
        if form.needs <= row.keys():
            return form
    for name in PROMPT_NAMES:
        if name in row:
            return _mapped({"prompt": name})
    raise RowError(
        f"no known format: the columns are {', '.join(map(str, row)) or '(none)'}; expected "
        "'turns', 'messages', 'conversations' or a prompt column "
        f"({', '.join(PROMPT_NAMES)}), or map yours: {MAP_COLUMNS.format('prompt')}"
    )


def _mapped(columns: Mapping[str, str]) -> Format:
    for field in columns:
        if field not in FIELDS:
            raise unknown("field in columns=", field, FIELDS)
    names = {field: field for field in FIELDS} | dict(columns)
    return Format("plain", frozenset(columns.values()), partial(_plain, names, columns))


def _plain(names: Mapping[str, str], columns: Mapping[str, str], row: Row) -> Sample:
    missing = [name for name in columns.values() if name not in row]
    if missing:
        raise RowError(
            f"column {missing[0]!r} is missing or empty; the row has {', '.join(map(str, row))}"
        )
    ours = {field: row[name] for field, name in names.items() if name in row}
    if "messages" in columns:
        return _messages(ours)
    if "turns" in columns or "prompt" not in ours:
        return _turns(ours)
    return _sample(ours, (_text(ours["prompt"], columns.get("prompt", "prompt")),))


def _sample(row: Row, turns: tuple[str, ...], **fixed: Any) -> Sample:
    """Build a sample from the fields every format may carry; ``fixed`` overrides them."""
    system = row.get("system")
    content: dict[str, Any] = {
        "id": _identifier(row),
        "category": _category(row),
        "system": None if system is None else _text(system, "system"),
        "licence": _label(row, "licence") or _label(row, "license"),
    }
    for name in ("sub_category", "difficulty", "language", "source"):
        content[name] = _label(row, name)
    return Sample(turns=turns, **(content | fixed))


def _identifier(row: Row) -> str:
    for name in ("id", "question_id", "task_id", "unique_id", "src_id"):
        value = row.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise RowError(f"{name!r} must be a non-empty string or an integer, got {value!r}")
        return _short(str(value), name)
    return ""


def _category(row: Row) -> str:
    value = row.get("category", DEFAULT_CATEGORY)
    if not isinstance(value, str) or not value.strip():
        raise RowError(
            f"'category' must be a non-empty string, got {value!r}; name one, or leave it out"
        )
    if value == ALL:
        raise RowError(f"category {ALL!r} is reserved for the whole split; rename it")
    return _short(value, "category")


def _label(row: Row, name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str | int | float):
        raise RowError(f"{name!r} must be a string, got {type(value).__name__}")
    return _short(str(value), name)


def _short(value: str, where: str) -> str:
    """A name as it can be shown and stored: valid text of at most 500 characters."""
    if len(value) > MAX_LABEL:
        raise RowError(f"{where!r} has {len(value):,} characters; expected at most {MAX_LABEL}")
    return _valid(value, where)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise RowError(
            f"{where!r} must be a string, got {type(value).__name__}; write the message as text"
        )
    if not value.strip():
        raise RowError(f"{where!r} is empty; every turn needs text")
    if len(value) > MAX_TEXT:
        raise RowError(f"{where!r} has {len(value):,} characters; no model takes such a prompt")
    if value.startswith(PLACEHOLDER):
        raise RowError(
            "an unresolved placeholder of nvidia/SPEED-Bench, not a prompt; prepare the data "
            "first with its specdec_bench (prepare_data.py), then give the folder it wrote"
        )
    return _valid(value, where)


def _valid(value: str, where: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise RowError(f"{where!r} holds half of a surrogate pair; fix the text") from None
    return value


def _turns(row: Row) -> Sample:
    turns = row.get("turns")
    if turns is None or (isinstance(turns, list) and not turns):
        raise RowError("the row has no turns; 'turns' is a list of at least one user message")
    if not isinstance(turns, list):
        raise RowError(
            f"'turns' must be a list of strings, got {type(turns).__name__}; put it in "
            f"brackets, or map the column as the prompt: {MAP_COLUMNS.format('prompt')}"
        )
    return _sample(row, tuple(_text(t, f"turns[{i}]") for i, t in enumerate(turns)))


def _messages(row: Row) -> Sample:
    return _conversation(row, "messages", "role", "content", {"user", "human"})


def _sharegpt(row: Row) -> Sample:
    return _conversation(row, "conversations", "from", "value", {"human", "user"})


def _conversation(row: Row, name: str, role: str, content: str, users: set[str]) -> Sample:
    """Keep system prompt and user turns; stored answers give way to the model's own."""
    items = row.get(name)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise RowError(f"{name!r} must be a list of objects with {role!r} and {content!r}")
    turns = []
    system = None
    for index, item in enumerate(items):
        speaker, where = item.get(role), f"{name}[{index}].{content}"
        if speaker in users:
            turns.append(_text(_joined(item.get(content), where), where))
        elif speaker in ("system", "developer"):
            system = _text(_joined(item.get(content), where), where)
    if not turns:
        raise RowError(f"the row has no turns: no {' or '.join(sorted(users))} in {name!r}")
    return _sample(row, tuple(turns), **({} if system is None else {"system": system}))


def _joined(value: object, where: str) -> object:
    """Join OpenAI content parts; refuse what is not text."""
    if not isinstance(value, list):
        return value
    for part in value:
        if not isinstance(part, dict) or part.get("type") != "text":
            raise RowError(f"{where!r} holds a part that is not text; only text can be measured")
    return "".join(str(part.get("text", "")) for part in value)


def _token_ids(row: Row) -> Sample:
    ids = row.get("token_ids")
    if not isinstance(ids, list) or not ids:
        raise RowError("'token_ids' must be a list of at least one token id")
    if not all(type(token) is int and 0 <= token < 2**32 for token in ids):
        raise RowError("'token_ids' must hold integers >= 0")
    return _sample(row, (), token_ids=tuple(ids))


def _humaneval(row: Row) -> Sample:
    return _sample(row, (_text(row["prompt"], "prompt"),), category="coding", language="python")


def _gsm8k(row: Row) -> Sample:
    return _sample(row, (_text(row["question"], "question"),), category="math")


def _math500(row: Row) -> Sample:
    return _sample(
        row,
        (_text(row["problem"], "problem"),),
        category="math",
        sub_category=_label(row, "subject"),
        difficulty=_label(row, "level"),
    )


def _mbpp(row: Row) -> Sample:
    """The task and its tests, as in the paper's own prompt: the tests name the function."""
    tests = row["test_list"]
    if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
        raise RowError("'test_list' must be a list of strings")
    task = _text(row.get("text", row.get("prompt")), "text")
    text = f"{task} Your code should pass these tests:\n\n" + "\n".join(tests)
    return _sample(row, (text,), category="coding", language="python")


FORMATS: Final = (
    Format("turns", frozenset({"turns"}), _turns),
    Format("messages", frozenset({"messages"}), _messages),
    Format("sharegpt", frozenset({"conversations"}), _sharegpt),
    Format("token_ids", frozenset({"token_ids"}), _token_ids),
    Format("humaneval", frozenset({"task_id", "prompt", "canonical_solution"}), _humaneval),
    Format("mbpp", frozenset({"test_list", "code"}), _mbpp),
    Format("math500", frozenset({"problem", "answer"}), _math500),
    Format("gsm8k", frozenset({"question", "answer"}), _gsm8k),
)
"""Known formats. ``turns`` is ours, Spec-Bench's, MT-Bench's and SPEED-Bench's."""
