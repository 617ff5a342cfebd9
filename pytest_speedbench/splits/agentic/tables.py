"""Tool outputs made of rows: logs, metrics, commits, and tables with the faults of real ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from typing import Final

from .code import OWNERS, VERBS, Options, pair, plural, with_articles, words_of

_LEVELS: Final = ("INFO",) * 12 + ("DEBUG",) * 5 + ("WARN",) * 3 + ("ERROR",)
_EVENTS: Final = (
    "{v} {a} {i} in {m} ms, {n} {bb} touched",
    "{a} {i} accepted from {host} (queue depth {n})",
    "cache miss for {a}/{i}, falling back to {b} store",
    "{b} pool: {used} of 64 connections in use, {k} waiting",
    "skipping {a} {i}: {b} {j} is newer",
    "checkpoint written, {n} {aa} since the last one, {m} ms",
    "{v} of {a} {i} took longer than expected: {slow} ms (limit 500 ms)",
    "lease on {b} {j} renewed until {clock}",
    "retrying {v} {a} {i}, attempt {k}, backoff {m} ms",
    "peer {host} answered {code} after {m} ms",
    "{n} {aa} still held by {b} {j}, none older than {k} min",
    "closing idle session {i} of {owner} after {k} min",
    "garbage collection: {n} MiB freed, pause {m} ms",
    "shard {k} moved to {host}, {n} {aa} to copy",
)
_OUTCOMES: Final = ("true",) * 9 + ("false",)
_CODES: Final = ("200", "200", "200", "201", "204", "302", "304", "404", "409", "429", "500", "503")


def _minutes(options: Options) -> int:
    """The ``start`` of an output, in minutes since midnight."""
    hours, _, minutes = options.get("start", "09:00").partition(":")
    return int(hours) * 60 + int(minutes)


class _Clock:
    """A clock that starts at a time of the day and moves on by random steps."""

    def __init__(self, draw: random.Random, options: Options) -> None:
        self._seconds = _minutes(options) * 60.0
        self._draw = draw
        self._pace = float(options.get("pace", "3"))

    def step(self) -> str:
        self._seconds += self._draw.expovariate(1.0) * self._pace
        whole = int(self._seconds)
        clock = f"{whole // 3600 % 24:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
        return f"{clock}.{int(self._seconds % 1 * 1000):03d}"


def _fill(draw: random.Random, nouns: list[str], shape: str) -> str:
    a, b = draw.sample(nouns, 2)
    text = shape.format(
        **pair(a, b),
        v=draw.choice(VERBS),
        i=f"{draw.getrandbits(32):08x}",
        j=draw.randint(1, 400),
        k=draw.randint(1, 15),
        m=int(draw.expovariate(1 / 90)) + 1,
        n=draw.randint(1, 1200),
        host=f"10.{draw.randint(0, 9)}.{draw.randint(0, 255)}.{draw.randint(2, 250)}",
        clock=f"{draw.randint(0, 23):02d}:{draw.randint(0, 59):02d}",
        code=draw.choice(_CODES),
        owner=draw.choice(OWNERS),
        used=draw.randint(1, 64),
        slow=500 + int(draw.expovariate(1 / 400)),
    )
    return with_articles(text)


def log(draw: random.Random, options: Options) -> Iterator[str]:
    """Lines of a service's log; ``start`` HH:MM, ``pace`` mean seconds between two lines."""
    nouns, clock = words_of(options), _Clock(draw, options)
    while True:
        component = f"{draw.choice(nouns)}.{draw.choice(VERBS)}"
        event = _fill(draw, nouns, draw.choice(_EVENTS))
        yield f"{clock.step()} {draw.choice(_LEVELS):<5} [{component}] {event}\n"


def access(draw: random.Random, options: Options) -> Iterator[str]:
    """Lines of a web server's access log."""
    nouns, clock = words_of(options), _Clock(draw, options)
    agents = ("mobile/8.2 (android)", "mobile/8.1 (ios)", "web/2291", "partner-sync/3", "curl/8.5")
    while True:
        path = f"/v{draw.choice('123')}/{plural(draw.choice(nouns))}"
        many = draw.random() < 0.3
        path += f"?page={draw.randint(1, 80)}" if many else f"/{draw.randint(100, 99999)}"
        yield (
            f"10.4.{draw.randint(0, 31)}.{draw.randint(2, 250)} {clock.step()} "
            f'"{draw.choice(("GET", "GET", "GET", "POST", "PUT", "DELETE"))} {path}" '
            f"{draw.choice(_CODES)} {draw.randint(120, 48000)} "
            f'{draw.expovariate(1 / 0.12):.3f} "{draw.choice(agents)}"\n'
        )


def events(draw: random.Random, options: Options) -> Iterator[str]:
    """Events as one JSON object a line."""
    nouns, clock = words_of(options), _Clock(draw, options)
    while True:
        a, b = draw.sample(nouns, 2)
        yield (
            f'{{"t":"{clock.step()}","type":"{a}.{draw.choice(VERBS)}d","id":'
            f'"{draw.getrandbits(40):010x}","{b}":{draw.randint(1, 9000)},"ms":'
            f'{int(draw.expovariate(1 / 140)) + 1},"ok":{draw.choice(_OUTCOMES)}}}\n'
        )


_RANGES: Final = {
    "rps": (800, 1900), "qps": (200, 420), "p50_ms": (18, 40), "p99_ms": (140, 260),
    "cpu": (30, 60), "errors": (1, 9), "conns": (300, 700), "rss_mb": (900, 1400),
    "heap_mb": (500, 800), "sockets": (1200, 1400), "subs": (150e3, 220e3), "gc_ms": (8, 30),
    "heap_pct": (60, 90), "merges": (2, 11), "queue": (4, 60), "writes_s": (700, 950),
    "lag_s": (0.4, 3), "depth": (40, 90), "disk_mb": (90, 160), "fsync_ms": (2, 6),
    "tls_errors": (2, 6), "ok_share": (97, 99), "step_ms": (402, 404), "tokens_s": (81e3, 84e3),
    "gpu0_c": (61, 66), "gpu4_c": (64, 70), "clock_mhz": (1830, 1860), "power_w": (640, 690),
    "logins": (900, 1500), "failures": (30, 70), "locked": (0, 4), "mfa": (200, 300),
    "latency": (90, 140), "ingested": (1.6e6, 1.9e6), "queued": (1.6e6, 1.9e6),
    "acked": (1.6e6, 1.9e6), "archived": (1.6e6, 1.9e6), "dropped": (0, 3), "in_s": (300, 500),
    "out_s": (300, 500), "oldest_s": (1, 9), "redeliv": (0, 2), "c1": (0.04, 0.06),
    "c12": (0.9, 1.2),
}  # fmt: skip
"""Where the columns begin; others begin between ``low`` and ``high``."""


def metrics(draw: random.Random, options: Options) -> Iterator[str]:
    """Rows of a table of figures: ``by`` time, day, month, row or person, ``columns``.

    Each row drifts away from the one before. ``bump`` COLUMN:FROM:TO:FACTOR multiplies a column
    in some rows.
    """
    names = options.get("columns", "rps,p50_ms,p99_ms,errors,cpu").split(",")
    low, high = float(options.get("low", "5")), float(options.get("high", "900"))
    digits = 3 if high <= 5 else 1
    levels = [draw.uniform(*_RANGES.get(name, (low, high))) for name in names]
    labels = _labels(draw, options)
    column, first, last, factor = options.get("bump", "none:0:0:1").split(":")
    yield f"{options.get('by', 'time'):<8}" + " ".join(f"{name:>10}" for name in names) + "\n"
    for row in count():
        levels = [level * draw.uniform(0.985, 1.0155) for level in levels]
        bumped = int(first) <= row < int(last)
        shown = [
            level * float(factor) if bumped and name == column else level
            for name, level in zip(names, levels, strict=True)
        ]
        yield f"{next(labels):<8}" + " ".join(f"{value:>10.{digits}f}" for value in shown) + "\n"


def _labels(draw: random.Random, options: Options) -> Iterator[str]:
    """What stands before each row."""
    by, minute = options.get("by", "time"), _minutes(options)
    for number in count():
        if by == "time":
            at = minute + number * int(options.get("every", "1"))
            yield f"{at // 60 % 24:02d}:{at % 60:02d}"
        elif by == "day":
            yield f"{number // 28 % 12 + 1:02d}-{number % 28 + 1:02d}"
        elif by == "month":
            yield f"{2025 + number // 12}-{number % 12 + 1:02d}"
        elif by == "row":
            yield f"p{number // 8 + 1}-{'ABCDEFGH'[number % 8]}"
        else:
            yield draw.choice(OWNERS)


_SUBJECTS: Final = (
    "{a}: {v} the {b} before the lock is released",
    "{v} {aa} in batches of {n}",
    "{a} tests no longer depend on the order of {bb}",
    "drop the {b} column of {aa}, unused since spring",
    "{a}: a {b} without an owner is an error",
    "bump {b}-client to {k}.{j}",
    'revert "{v} {aa} eagerly"',
    "docs: how a {a} becomes a {b}",
    "{b}: time out after {n} ms instead of waiting for ever",
    "{a} api: name the field that was wrong",
    "ci: cache {b} fixtures between jobs",
    "move {v}_{a} to the {b} package, nothing else",
)


def commits(draw: random.Random, options: Options) -> Iterator[str]:
    """Lines of a version history, newest first: by ``day`` of the year, or from ``start`` HH:MM."""
    nouns, day = words_of(options), int(options.get("day", "240"))
    minute = _minutes(options)
    while True:
        subject = _fill(draw, nouns, draw.choice(_SUBJECTS))
        when = f"2026-{day // 30 % 12 + 1:02d}-{day % 30 + 1:02d}"
        if "start" in options:
            minute -= draw.randint(1, 9)
            when = f"{minute // 60 % 24:02d}:{minute % 60:02d}"
        yield f"{draw.getrandbits(36):09x} {when} {draw.choice(OWNERS):<8} {subject}\n"
        day = max(1, day - (draw.random() < 0.4))


_FIRST: Final = (
    "Amara", "Bruno", "Chloé", "Dagny", "Emre", "Fatou", "Gero", "Halina", "Ivo", "Jytte", "Kofi",
    "Leïla", "Mateus", "Nadja", "Orsolya", "Piet", "Quentin", "Rosa", "Søren", "Tülay", "Uche",
)  # fmt: skip
_LAST: Final = (
    "Abel", "Brandt", "Castellanos", "Dvořák", "Eriksen", "Fonseca", "Grünwald", "Hossain", "Ito",
    "Jankowski", "Kaya", "Lindqvist", "Moreau", "Nwosu", "O'Brien", "Petrov", "Quist", "Rahman",
)  # fmt: skip
_CITIES: Final = (
    "Lyon", "lyon ", "LYON", "Gent", "Gand", "Ghent", "Porto", "Oporto", "Wrocław", "Wroclaw",
    "Breslau", "Malmö", "Malmo", "Thessaloniki", "Saloniki", "Izmir", "İzmir", "n/a", "",
)  # fmt: skip


def people(draw: random.Random, options: Options) -> Iterator[str]:
    """Rows of a customer table in CSV, with the faults that such tables have."""
    yield "id,name,email,city,joined,balance,phone\n"
    number = draw.randint(1000, 4000)
    while True:
        number += draw.choice((1, 1, 1, 1, 2, 0))
        first, last = draw.choice(_FIRST), draw.choice(_LAST)
        name = draw.choice((f"{first} {last}", f'"{last}, {first}"', f"{first.upper()} {last}"))
        email = f"{first}.{last}@example.{draw.choice(('org', 'com', 'net'))}".lower()
        email = draw.choice((email, email, email, email.replace("@", " at "), ""))
        yield (
            f"{number},{name},{email.replace(chr(39), '')},{draw.choice(_CITIES)},{_day(draw)},"
            f"{_amount(draw)},{draw.choice(('+49', '0049', '0', '+33 (0)'))}"
            f"{draw.randint(10**7, 10**9)}\n"
        )


def _day(draw: random.Random) -> str:
    year, month, day = draw.randint(2009, 2026), draw.randint(1, 12), draw.randint(1, 28)
    return draw.choice(
        (f"{year}-{month:02d}-{day:02d}", f"{day:02d}.{month:02d}.{year}",
         f"{month}/{day}/{year % 100:02d}", f"{day:02d}/{month:02d}/{year}", "0000-00-00")
    )  # fmt: skip


def _amount(draw: random.Random) -> str:
    cents = draw.randint(-20000, 400000) / 100
    plain = f"{cents:.2f}"
    return draw.choice((plain, plain, plain.replace(".", ";"), f"{cents:.0f} EUR", f"€{plain}", ""))


def readings(draw: random.Random, options: Options) -> Iterator[str]:
    """Rows of a sensor table in CSV: gaps, doubled rows, units that change, values that stick."""
    units = options.get("units", "C,F").split(",")
    yield "station,time,value,unit,quality\n"
    clock, value, row = _Clock(draw, options), draw.uniform(8, 24), ""
    while True:
        if row and draw.random() < 0.04:
            yield row
        value = value if draw.random() < 0.15 else value + draw.gauss(0, 0.6)
        shown = draw.choice((f"{value:.2f}",) * 8 + ("-9999", "", f"{value:.1f}".replace(".", ",")))
        row = (
            f"{draw.choice(('N-1', 'S-2', 'HARBOUR-3', 'harbour-3', 'Mill Rd-4'))},"
            f"{clock.step()},{shown},{draw.choice(units)},{draw.choice('AAAABC?')}\n"
        )
        yield row
