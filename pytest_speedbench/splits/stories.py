"""Our own endless prose and dialogue, for the high-entropy tier: seeded, and never twice the same.

Not literature, and not meant as such: it is the long context in front of a creative task, with
enough different names, places and turns of phrase that no two prompts begin alike.
"""

from __future__ import annotations

import random
from typing import Final

# fmt: off
NAMES: Final = (
    "Ada", "Benno", "Calla", "Dimitri", "Elsbeth", "Farouk", "Greta", "Hanno", "Ines",
    "Jonah", "Kezia", "Lorcan", "Mirela", "Nils", "Oona", "Pascal", "Quirin", "Rosalind",
    "Sefton", "Tamar", "Ulla", "Viktor", "Wanda", "Xenia", "Yusuf", "Zelda", "Anselm",
    "Birgit", "Cosmo", "Delphine", "Edmund", "Fenna", "Gideon", "Hilde", "Ismail", "Jolanda",
    "Kasimir", "Lucinda", "Matthis", "Noor",
)
# fmt: on
PLACES: Final = (
    "the drained reservoir",
    "a bakery that opened only at night",
    "the customs house at Varn",
    "the last tram depot",
    "an orchard under nets",
    "the observatory stairs",
    "a ferry that had lost its timetable",
    "the archive below the fish market",
    "a garden on the hospital roof",
    "the winter quarters of a circus",
    "the signal box at Low Hallow",
    "a quarry full of rain",
    "the room above the clockmaker",
    "a motorway chapel",
    "the glass factory's cooling hall",
    "an island that belonged to the post office",
    "the school for retired divers",
    "a courtyard of broken pianos",
    "the salt road",
    "a lighthouse sold by auction",
    "the village that had moved uphill",
    "the back seat of a removal van",
    "an unfinished bridge",
    "the reading room of the asylum",
)
THINGS: Final = (
    "a suitcase of unsent invitations",
    "the mayor's second-best umbrella",
    "a jar of seeds nobody could name",
    "the key to a house since demolished",
    "three pages torn from a logbook",
    "a radio that caught only weather",
    "an accordion with one honest note",
    "the wrong child's birth certificate",
    "a map drawn from memory",
    "the bell of a ship still afloat",
    "a glove full of coins",
    "the recipe for a cake that ended a marriage",
    "a telescope pointed at the neighbours",
    "a violin case holding bread",
    "the minutes of a secret society of two",
    "an egg warm from no hen",
    "a photograph with a stranger cut out",
    "the spare moon from the theatre",
    "a letter addressed to the next tenant",
    "a compass that preferred east",
)
MOODS: Final = (
    "out of stubbornness",
    "with the calm of someone already late",
    "as if rehearsing an apology",
    "because nobody had forbidden it",
    "half hoping to be caught",
    "in the voice kept for horses",
    "without taking off the wet coat",
    "for the third time that week",
    "like a man returning a library book",
    "and regretted it at once",
    "before the kettle could object",
    "though the lamps were going out one by one",
    "and meant every word but the last",
    "to the great interest of the dog",
    "while the snow made up its mind",
    "as the whole street pretended not to look",
)
EVENTS: Final = (
    "{a} found {thing} in {place}, and kept quiet about it {mood}.",
    "In {place}, {a} and {b} argued about {thing} until the light failed.",
    "Nobody in {place} asked why {a} carried {thing}, least of all {b}.",
    "{a} had promised {b} never to go back to {place}, and went {mood}.",
    "It was {b} who sold {thing}; {a} merely opened the door to {place}.",
    "By morning {place} smelled of smoke, and {thing} lay where {a} had slept.",
    "{a} wrote the whole story down for {b}, leaving out {place} {mood}.",
    "What {a} remembered of {place} was {thing} and the way {b} counted the steps.",
    "The year {a} turned forty, {thing} was delivered to {place} by mistake.",
    "{b} laughed {mood}, and {a} put {thing} back on the shelf.",
    "There were two doors to {place}; {a} took the one that {b} had painted shut.",
    "'Keep {thing},' said {b} {mood}, 'but leave me {place}.'",
    "{a} learned at {place} that a person can miss {thing} more than a brother.",
    "When the water reached {place}, {a} saved {thing} first and explained it later to {b}.",
    "On the road from {place}, {b} told {a} what had really become of {thing}.",
    "{a} stood in {place} {mood}, and for once {b} had no answer.",
)
LINES: Final = (
    "You can't bring {thing} into {place}. We agreed on that.",
    "I agreed to nothing. I nodded, {mood}.",
    "Ask {a}. {a} was in {place} when it happened.",
    "If {b} hears about {thing}, we are both out of work.",
    "Say it again, and this time without looking at {place}.",
    "I dreamed of {place}. You were there, holding {thing}.",
    "That is not how {b} tells it. {b} tells it {mood}.",
    "How long does it take to carry {thing} from here to {place}?",
    "Longer than a marriage. Shorter than {a}'s excuses.",
    "Put {thing} down before {a} sits on it.",
    "There was never a key. {b} made it up, {mood}.",
    "I would rather lose {place} than owe {a} another favour.",
    "Listen. Somebody is moving about in {place}.",
    "It is only {b}, looking for {thing} again.",
    "Then why are you whispering, {a}?",
    "You kept {thing} all these years, and you call me sentimental.",
)


def opening(draw: random.Random) -> str:
    """Return a paragraph of three to six sentences."""
    return " ".join(_filled(draw, EVENTS) for _ in range(draw.randint(3, 6)))


def dialogue(draw: random.Random) -> str:
    """Return a scene of four to eight spoken lines between two people."""
    speakers = draw.sample(NAMES, 2)
    count = draw.randint(4, 8)
    return "\n".join(f"{speakers[i % 2]}: {_filled(draw, LINES)}" for i in range(count))


def _filled(draw: random.Random, frames: tuple[str, ...]) -> str:
    a, b = draw.sample(NAMES, 2)
    text = draw.choice(frames).format(
        a=a, b=b, place=draw.choice(PLACES), thing=draw.choice(THINGS), mood=draw.choice(MOODS)
    )
    return text[0].upper() + text[1:]


def record(draw: random.Random) -> str:
    """Return one line of a register, for the sorting tasks."""
    number = draw.randint(100_000, 999_999)
    day = f"{draw.randint(1, 28):02d}.{draw.randint(1, 12):02d}.{draw.randint(1950, 2024)}"
    return f"{number}; {draw.choice(NAMES)} {draw.choice(NAMES)}son; {draw.choice(THINGS)}; {day}"
