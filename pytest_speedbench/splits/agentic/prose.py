"""Tool outputs made of sentences: tickets, conversations, reference pages."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from .code import FIELDS, OWNERS, VERBS, Options, pair, with_articles, words_of

_OPENINGS: Final = (
    "Hello,", "Hi team,", "Good morning.", "To whom it may concern,", "Third message about this!",
    "Hey,", "Dear support,", "Quick one:", "Sorry to bother you again.", "URGENT.", "",
)  # fmt: skip
_TROUBLES: Final = (
    "since Tuesday the {a} page stays blank after I log in",
    "you charged me twice for one {a}, and the second charge has no invoice",
    "the {a} that I cancelled in March has renewed itself",
    "our {b} list stops at row {n} without any message",
    "I cannot invite a colleague: the button for {aa} is grey",
    "the app says my {a} is on another device, but I own only one",
    "the {b} total on the statement is {n} too high",
    "every {a} that I upload is turned by ninety degrees",
    "password mails arrive {k} hours late, when the link is dead already",
    "your api answers 409 for a {b} that does not exist",
    "the search finds {aa} that were deleted years ago",
    "notifications about {bb} come at three in the morning",
    "the screen reader reads the {a} list backwards",
    "after the update the {b} filter forgets what I chose",
    "I was promised a credit for the lost {a}, and nothing has come",
    "two of our {n} {bb} show the name of another customer",
)
_DETAILS: Final = (
    "It happens in every browser that we have.",
    "A screenshot is attached, if the form kept it.",
    "My colleague {o} sees the same; others do not.",
    "I have already cleared everything that your help page names.",
    "The reference is {r}.",
    "It worked last week, and nobody changed anything on our side.",
    "We have a deadline on Friday and {k} people who cannot work.",
    "I would rather have an honest answer than another template.",
    "On the phone they told me to write here.",
    "If it is a known problem, a link is enough.",
    "Please do not close this again without asking me.",
    "The log of our own proxy says {n} retries in {k} minutes.",
    "We pay for the plan with the guaranteed answer.",
    "My mother uses the account, so please no jargon.",
)
_CLOSINGS: Final = ("Thanks, {o}", "{o}", "Regards, {o}", "Best, {o} (accounting)", "Waiting. {o}")


def tickets(draw: random.Random, options: Options) -> Iterator[str]:
    """Tickets of a help desk, each with number, channel, plan and a text of its own."""
    nouns, number = words_of(options), draw.randint(20000, 60000)
    while True:
        number += draw.randint(1, 9)
        a, b = draw.sample(nouns, 2)
        person = draw.choice(OWNERS).capitalize()
        fill = pair(a, b) | {
            "o": draw.choice(OWNERS).capitalize(), "n": draw.randint(3, 900),
            "k": draw.randint(2, 14), "r": f"{draw.getrandbits(28):07X}",
        }  # fmt: skip
        trouble = draw.choice(_TROUBLES).format(**fill)
        details = " ".join(d.format(**fill) for d in draw.sample(_DETAILS, draw.randint(1, 3)))
        opening = draw.choice(_OPENINGS)
        if not opening.endswith((",", ":")):
            trouble = trouble[0].upper() + trouble[1:]
        text = with_articles(f"{opening} {trouble}. {details}".strip())
        yield (
            f"#{number} | {draw.choice(('mail', 'web form', 'chat', 'phone note'))} | "
            f"{draw.choice(('free', 'team', 'business', 'business', 'enterprise'))} plan | "
            f"open {draw.randint(1, 190)} h\n{text} "
            f"{draw.choice(_CLOSINGS).format(o=person)}\n\n"
        )


_REMARKS: Final = (
    "{a} errors are back to {n} a minute on {h}",
    "restarting the {b} worker on {h}, nothing else for now",
    "customer side confirms: {aa} arrive, but {k} minutes late",
    "no deploy since yesterday, I looked twice",
    "that graph is in UTC, the other one is not",
    "who owns the {b} queue this week?",
    "I do. On the train until ten past, but reading",
    "rolled {h} back to the build of Monday, watching {a} latency",
    "latency is down to {n} ms there, the others unchanged",
    "then it is not the {b} cache, or not only",
    "the {a} table has {n} dead rows per live one, autovacuum never finished",
    "please nobody fail over until {o} has seen the lag",
    "status page updated: degraded {aa}, next note at half past",
    "found it, I think: {b} clients retry without any backoff",
    "how sure are you, one to ten? — seven",
    "feature flag for {bb} is off for {k} % of traffic now",
    "{a} backlog is shrinking, {n} left",
    "support has {k} open tickets about it, two of them loud",
    "keep the {h} disk as it is, we need the dump for the review",
    "same thing happened in spring, see the review of the {b} outage",
    "lunch is here, I stay on",
    "declaring it over at the next full hour if nothing moves",
)


def channel(draw: random.Random, options: Options) -> Iterator[str]:
    """Messages of an incident channel; ``start`` HH:MM."""
    nouns = words_of(options)
    hours, _, minutes = options.get("start", "09:00").partition(":")
    minute = int(hours) * 60 + int(minutes)
    changing = [remark for remark in _REMARKS if "{" in remark]  # the others are said once
    bag = draw.sample(_REMARKS, len(_REMARKS))
    while True:
        minute += draw.choice((0, 0, 1, 1, 2, 4))
        a, b = draw.sample(nouns, 2)
        remark = bag.pop() if bag else draw.choice(changing)
        text = remark.format(
            **pair(a, b), o=draw.choice(OWNERS), n=draw.randint(3, 4000), k=draw.randint(2, 40),
            h=f"{b[:3]}-{draw.randint(1, 24):02d}",
        )  # fmt: skip
        yield f"[{minute // 60 % 24:02d}:{minute % 60:02d}] {draw.choice(OWNERS)}: {text}\n"


_SAYINGS: Final = (
    "Takes a {a} and the name of a {b}; both must exist.",
    "The call returns at once. The {a} is final when its `{f}` is set.",
    "Limits: {n} {aa} in one request, {k} requests a second for one key.",
    "A {b} may be given by its id or by its `{f}`. Where both are given, the id wins.",
    "Since version {k} an unknown `{f}` is an error; before, it was ignored.",
    "The answer lists {aa} in no promised order. Sort by `{f}` if you need one.",
    "Deleting a {b} leaves its {aa} in place; they can be read for {n} days.",
    "Errors: 404 where the {a} is unknown, 409 where its {b} is locked, 422 for a bad `{f}`.",
    "Do not store the `{f}` of a {a}: it changes whenever its {b} moves.",
    "Idempotent: the same `{f}` sent twice gives the same {a}.",
    "To be removed. Use `{v}_{b}` with the same arguments.",
    "There is no paging; ask for one {b} at a time.",
)


def reference(draw: random.Random, options: Options) -> Iterator[str]:
    """Entries of a reference manual, some of them out of date, none of them long."""
    nouns = words_of(options)
    while True:
        a, b = draw.sample(nouns, 2)
        verb = draw.choice(VERBS)
        fill = pair(a, b) | {
            "v": draw.choice(VERBS), "f": draw.choice(FIELDS),
            "n": draw.randint(2, 500), "k": draw.randint(2, 9),
        }  # fmt: skip
        sayings = draw.sample(_SAYINGS, draw.randint(2, 4))
        body = with_articles(" ".join(saying.format(**fill) for saying in sayings))
        rows = "".join(
            f"| `{field}` | {draw.choice(('string', 'integer', 'boolean', 'timestamp', 'list'))} | "
            f"{draw.choice(('required', 'optional', 'read only', 'undocumented'))} |\n"
            for field in draw.sample(FIELDS, draw.randint(2, 4))
        )
        yield f"### {verb}_{a}\n\n{body}\n\n| field | type | |\n| --- | --- | --- |\n{rows}\n"
