"""Tool outputs made of code: source files, test runs, search results, schemas, settings."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from textwrap import indent
from typing import Final

Options = Mapping[str, str]

VERBS: Final = (
    "load", "merge", "resolve", "publish", "expire", "reserve", "reconcile", "split", "archive",
    "validate", "enqueue", "release", "render", "collect", "rotate", "normalise", "retry", "attach",
    "estimate", "replay", "compact", "promote", "sample", "freeze", "restore", "audit", "forward",
)  # fmt: skip
FIELDS: Final = (
    "created_at", "owner_id", "amount", "status", "priority", "region", "checksum", "attempts",
    "deadline", "version", "weight", "source", "label", "quota", "offset", "locale", "parent_id",
    "retention", "currency", "digest",
)  # fmt: skip
_DEFAULTS: Final = ("None", "False", "0", "()", "{}", "[]")
_SENTENCES: Final = (
    "Return the {a} that belongs to a {b}, oldest first",
    "Drop every {a} whose {f} lies before the cut-off",
    "Make sure that a {a} is only ever handed to one {b}",
    "Recompute the {f} of each {a}; callers hold the lock",
    "Write the {a} back, and keep what it replaced",
    "Ask the {b} again after a short wait, at most {n} times",
    "Split a {a} that is larger than {n} into parts of equal {f}",
    "Called once a day; a {a} without a {f} is skipped",
    "The inverse of reading a {b}; raises where the {f} differs",
    "Cheap on purpose: nothing here touches the {b} itself",
)
_PYTHON: Final = (
    '    if {a} is None or not {a}.{f}:\n        raise {B}Error(f"no {f} in {{{a}!r}}")',
    "    {bb} = [item for item in self._{bb} if item.{f} > {n}]",
    "    for {b}, {g} in zip({a}.{bb}, self.{g}s, strict=True):\n"
    "        {b}.{f} = max({b}.{f}, {g})",
    "    with self._lock:\n        previous = self._{aa}.pop({a}.key, None)\n"
    "        self._{aa}[{a}.key] = {a}",
    '    log.debug("{v} %s after %d of %d", {a}.{f}, self.{g}, {n})',
    "    try:\n        {b} = self._{w}_{b}({a})\n    except {B}Error as error:\n"
    '        self.failures += 1\n        log.warning("{w}: %s", error)\n        return {d}',
    "    while len(self._{bb}) > self.max_{bb}:\n        self._{bb}.popitem(last=False)",
    "    total = sum({b}.{f} for {b} in {a}.{bb})\n    if total * {n} < self.{g}:\n"
    "        return {d}",
    "    key = ({a}.{f}, {a}.{g})\n    if key in self._seen:\n        return self._seen[key]",
    "    {b} = replace({a}, {f}={a}.{f} + {n})\n    self._{w}({b})",
    "    groups: dict[str, list[{A}]] = defaultdict(list)\n"
    "    for {b} in self._{bb}:\n        groups[{b}.{f}].append({b})",
    "    remaining = deadline - time.monotonic()\n    if remaining <= 0:\n"
    '        raise TimeoutError(f"{v} {a}: nothing after {n} s")',
)
_TYPESCRIPT: Final = (
    "  if (!{a}.{f}) {{\n    throw new {B}Error(`no {f} in ${{{a}.id}}`);\n  }}",
    "  const {bb} = this.{bb}.filter((item) => item.{f} > {n});",
    "  const previous = this.cache.get({a}.{f});\n  if (previous) return previous;",
    "  await this.{w}{B}({a}.{g}, {{ limit: {n}, signal }});",
    "  for (const {b} of {a}.{bb}) {{\n    this.total += {b}.{f};\n  }}",
    "  try {{\n    await this.store.{w}({a});\n  }} catch (error) {{\n"
    "    this.logger.warn('{v} failed', {{ {f}: {a}.{f}, error }});\n    return {t};\n  }}",
    "  const [first, ...rest] = this.{bb}.slice(-{n});\n  if (!first) return {t};",
    "  this.emit('{v}', {{ ...{a}, {f}: Date.now() }});",
)
_GO: Final = (
    '\tif {a}.{F} == 0 {{\n\t\treturn nil, fmt.Errorf("{v} {a} %s: no {f}", {a}.ID)\n\t}}',
    "\tfor _, {b} := range {a}.{BB} {{\n\t\tif {b}.{F} > {n} {{\n\t\t\tcontinue\n\t\t}}\n"
    "\t\ts.{bb} = append(s.{bb}, {b})\n\t}}",
    "\ts.mu.Lock()\n\tdefer s.mu.Unlock()\n\ts.{aa}[{a}.{G}] = {a}",
    "\t{b}, err := s.{w}{B}(ctx, {a}.{F})\n\tif err != nil {{\n"
    '\t\treturn nil, fmt.Errorf("{w} {b}: %w", err)\n\t}}',
    "\tselect {{\n\tcase s.queue <- {a}:\n\tcase <-ctx.Done():\n\t\treturn nil, ctx.Err()\n\t}}",
    "\tif wait := time.Until({a}.Deadline); wait < {n}*time.Second {{\n"
    "\t\ts.metrics.{V}.Inc()\n\t}}",
)


def words_of(options: Options) -> list[str]:
    """Return the nouns that a script gives to an output."""
    return options.get("words", "item,batch,worker,record,entry").split(",")


_PLURALS: Final = {"shelf": "shelves", "index": "indices", "analysis": "analyses"}
_ARTICLE: Final = re.compile(r"\b([Aa]) (?=[`aeiou])(?!one)")


def plural(noun: str) -> str:
    """Return the plural of a noun."""
    if noun in _PLURALS:
        return _PLURALS[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if re.search(r"[^aeiou]y$", noun) else f"{noun}s"


def pair(a: str, b: str) -> dict[str, str]:
    """Return two nouns and their plurals as templates name them: a, aa, b, bb."""
    return {"a": a, "aa": plural(a), "b": b, "bb": plural(b)}


def with_articles(text: str) -> str:
    """Return the text with ``an`` before vowels."""
    return _ARTICLE.sub(r"\1n ", text)


def _names(draw: random.Random, nouns: list[str], first: str = "") -> dict[str, str]:
    a = first or draw.choice(nouns)
    b = draw.choice([noun for noun in nouns if noun != a])
    f, g = draw.sample(FIELDS, 2)
    v, w = draw.sample(VERBS, 2)
    names = pair(a, b) | {"f": f, "g": g, "v": v, "w": w}
    names |= {key.upper(): _camel(value) for key, value in names.items()}
    names |= {"n": str(draw.choice((2, 3, 5, 8, 12, 30, 64, 90, 250, 900)) + draw.randint(0, 9))}
    return names | {"d": draw.choice(_DEFAULTS), "t": draw.choice(("null", "[]", "false", "0"))}


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def source(draw: random.Random, options: Options) -> Iterator[str]:
    """Functions of one file: ``lang`` python, typescript or go, about the nouns of ``words``."""
    nouns = words_of(options)
    blocks, head, margin = _LANGUAGES[options.get("lang", "python")]
    while True:
        names = _names(draw, nouns)
        about = with_articles(draw.choice(_SENTENCES).format(**names))
        body = "\n".join(
            block.format(**_names(draw, nouns, names["a"]))
            for block in draw.sample(blocks, draw.randint(2, 4))
        )
        yield indent(head.format(about=about, body=body, **names), margin) + "\n"


_LANGUAGES: Final = {
    "python": (
        _PYTHON,
        "def {v}_{a}(self, {a}: {A}, {g}: int = {n}) -> {B} | None:\n"
        '    """{about}."""\n{body}\n    return self._{bb}.get({a}.{f})\n',
        "    ",
    ),
    "typescript": (
        _TYPESCRIPT,
        "/** {about}. */\nasync {v}{A}({a}: {A}, signal?: AbortSignal): Promise<{B} | null> {{\n"
        "{body}\n  return this.{bb}.find((item) => item.{f} === {a}.{f}) ?? null;\n}}\n",
        "  ",
    ),
    "go": (
        _GO,
        "// {V}{A}: {about}.\nfunc (s *{B}Store) {V}{A}(ctx context.Context, {a} *{A}) "
        "(*{B}, error) {{\n{body}\n\treturn s.{bb}[{a}.{G}], nil\n}}\n",
        "",
    ),
}
_SITUATIONS: Final = (
    "when_empty", "twice", "in_order", "after_restart", "with_unicode", "at_the_limit", "once",
    "without_owner", "concurrently", "on_leap_day", "with_negative_amount", "across_regions",
    "when_offline", "with_duplicates", "below_quota", "in_utc", "for_guests", "after_rollback",
)  # fmt: skip


def tests(draw: random.Random, options: Options) -> Iterator[str]:
    """Lines of a test run in which all pass but what the script adds."""
    nouns = words_of(options)
    module = draw.choice(nouns)
    while True:
        if draw.random() < 0.08:
            module = draw.choice(nouns)
        name = f"test_{draw.choice(VERBS)}_{draw.choice(nouns)}_{draw.choice(_SITUATIONS)}"
        where = f"tests/{options.get('area', 'unit')}/test_{module}.py::{name}"
        took = f"{draw.uniform(0.001, 1.9):.3f}s"
        case = f"[{draw.choice(FIELDS)}-{draw.randint(0, 40)}]" if draw.random() < 0.3 else ""
        yield f"{where}{case} {'SKIPPED' if draw.random() < 0.03 else 'PASSED'} {took}\n"


def search(draw: random.Random, options: Options) -> Iterator[str]:
    """Lines of a search through a repository: path, line number, the line itself."""
    nouns, ending = words_of(options), options.get("ending", "py")
    symbol = options.get("symbol", "legacy_client")
    shapes = (
        "    {b} = {s}({a}.{f}, {g}={n})",
        "from {aa}.{b} import {s}, {v}_{a}",
        "    return await self.{s}.{v}({a})",
        "        if isinstance({a}, {s}):",
        "# TODO({o}): {v} the {a} here once {s} knows {f}",
        '    monkeypatch.setattr({bb}, "{s}", lambda {a}: {n})',
        "    {s}.{w}({a}, {f}={a}.{f} or {d})",
        "@{s}.register({A})",
        "    # {s} rounds {f} down, see the note in {b}.md",
    )
    while True:
        names = _names(draw, nouns) | {"s": symbol, "o": draw.choice(OWNERS)}
        path = f"{draw.choice(('src', 'lib', 'app', 'jobs', 'tests'))}/{names['bb']}/{names['v']}"
        line = draw.choice(shapes).format(**names)
        yield f"{path}_{names['a']}.{ending}:{draw.randint(3, 940)}:{line}\n"


_QUERIES: Final = (
    'cursor.execute(f"SELECT {f}, {g} FROM {aa} WHERE {b}_id = {{{b}.id}}")',
    "rows = session.execute(\"SELECT * FROM {aa} WHERE {f} = '%s'\" % {b}.{f})",
    'db.execute("UPDATE {aa} SET {f} = " + str({n}) + " WHERE id = " + {a}_id)',
    "sql += f\" JOIN {bb} ON {bb}.id = {aa}.{b}_id ORDER BY {{request.args['sort']}}\"",
    "execute(f\"DELETE FROM {aa} WHERE {g} IN ({{','.join(map(str, {b}_ids))}})\")",
    'return conn.execute("SELECT count(*) FROM %s" % table).scalar()  # {v} {aa}',
    'query = "SELECT {aa}.*, {bb}.{f} FROM {aa} JOIN {bb} USING ({g})" + where(filters)',
    'session.execute(text("SELECT {f} FROM {aa} WHERE {g} > :{g}"), {{"{g}": {n}}})',
    'cur.execute("SELECT {f} FROM {bb} WHERE label LIKE \'%" + term + "%\' LIMIT {n}")',
)


def queries(draw: random.Random, options: Options) -> Iterator[str]:
    """Lines of a search for SQL in strings, some of it assembled from values."""
    nouns = words_of(options)
    while True:
        names = _names(draw, nouns)
        path = f"{draw.choice(('app', 'analytics', 'jobs', 'reports'))}/{names['aa']}/{names['v']}"
        line = draw.choice(_QUERIES).format(**names)
        yield f"{path}_{names['b']}.py:{draw.randint(3, 940)}:{' ' * draw.choice((4, 8))}{line}\n"


OWNERS: Final = ("mira", "teo", "anouk", "jalal", "ingrid", "pavel", "sunniva", "obi", "lotte")
_TYPES: Final = (
    "bigint NOT NULL", "integer", "text NOT NULL", "text", "timestamptz NOT NULL DEFAULT now()",
    "numeric(12,2)", "boolean NOT NULL DEFAULT false", "jsonb", "uuid", "date", "varchar(64)",
    "smallint NOT NULL DEFAULT 0", "char(3)", "bytea",
)  # fmt: skip


def schema(draw: random.Random, options: Options) -> Iterator[str]:
    """Tables of a database with columns, keys and indexes."""
    nouns, number = words_of(options), 0
    while True:
        number += 1
        a, b = draw.sample(nouns, 2)
        table = f"{a}_{draw.choice(VERBS)}_{number}"
        columns = draw.sample(FIELDS, draw.randint(4, 9))
        rows = "".join(f"    {c:<12} {draw.choice(_TYPES)},\n" for c in columns)
        yield (
            f"CREATE TABLE {table} (\n    id           bigserial PRIMARY KEY,\n{rows}"
            f"    {b}_id{' ' * max(1, 10 - len(b))}bigint REFERENCES {plural(b)} (id)\n);\n"
            f"CREATE INDEX {table}_{columns[0]}_idx ON {table} ({columns[0]}, {columns[1]});\n"
            f"-- about {draw.randint(1, 900)} {draw.choice(('thousand', 'million'))} rows, "
            f"{draw.randint(1, 40)} % of them without {columns[2]}\n"
        )


def settings(draw: random.Random, options: Options) -> Iterator[str]:
    """Blocks of a deployment's settings in YAML."""
    nouns = words_of(options)
    while True:
        a, b = draw.sample(nouns, 2)
        fields = draw.sample(FIELDS, draw.randint(2, 4))
        lines = "".join(f"    {field}: {_value(draw, b)}\n" for field in fields)
        yield (
            f"- name: {draw.choice(VERBS)}-{a}-{draw.randint(1, 60):02d}\n  owner: "
            f"{draw.choice(OWNERS)}\n  replicas: {draw.randint(1, 12)}\n  timeout_s: "
            f"{draw.choice((2, 5, 15, 30, 120))}\n  {b}:\n{lines}"
        )


def _value(draw: random.Random, noun: str) -> str:
    return draw.choice(
        (str(draw.randint(1, 5000)), f"{noun}-{draw.randint(10, 99)}", "true", "false",
         f"{draw.randint(1, 96)}h", f'"{draw.choice(OWNERS)}@example.org"')
    )  # fmt: skip


def changes(draw: random.Random, options: Options) -> Iterator[str]:
    """Hunks of a patch."""
    nouns = words_of(options)
    while True:
        names = _names(draw, nouns)
        line = draw.randint(10, 800)
        old = draw.choice(_PYTHON).format(**names)
        new = draw.choice(_PYTHON).format(**(names | _names(draw, nouns)))
        removed = "".join(f"-{row}\n" for row in old.splitlines())
        added = "".join(f"+{row}\n" for row in new.splitlines())
        yield (
            f"--- a/src/{names['aa']}.py\n+++ b/src/{names['aa']}.py\n@@ -{line},"
            f"{removed.count(chr(10))} +{line},{added.count(chr(10))} @@ def {names['v']}_"
            f"{names['a']}(self):\n{removed}{added}"
        )
