"""The built-in logic prompts: every answer is found again by trying all cases.

The solvers read the puzzle's text and enumerate; nothing here uses the generators. A puzzle must
have exactly one answer, and it must be the stored one.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROMPTS = Path(__file__).resolve().parents[2] / "fixtures" / "prompts" / "logic.jsonl"
ROWS = [json.loads(line) for line in PROMPTS.read_text("utf-8").splitlines()]

RELATION = re.compile(
    r"(\w+) (?:finished before|is taller than|is older than|is faster than|lives above|"
    r"arrived before|scored more than) (\w+)\."
)
FIRST = re.compile(r"Who .*(first|tallest|oldest|fastest|top|most)\?")


def worlds(names: list[str]) -> Iterator[dict[str, bool]]:
    """Yield every assignment of True and False to the names."""
    for values in itertools.product((True, False), repeat=len(names)):
        yield dict(zip(names, values, strict=True))


def ordering(text: str) -> set[str]:
    pairs = RELATION.findall(text)
    people = sorted({name for pair in pairs for name in pair})
    head = text.split(".")[0]
    assert all(name in head for name in people), "everyone is introduced"
    place = 0 if FIRST.search(text) else -1
    return {
        order[place]
        for order in itertools.permutations(people)
        if all(order.index(a) < order.index(b) for a, b in pairs)
    }


def honesty(text: str) -> set[str]:
    body = text.split("lies. ", 1)[1]
    said = re.findall(r"(\w+) says (\w+) (tells the truth|lies)\.", body)
    fact = re.match(r"(\w+) (tells the truth|lies)\.", body)
    asked = re.search(r"Does (\w+) tell the truth\?", body)
    assert fact is not None
    assert asked is not None
    people = sorted({fact[1], *(name for a, b, _ in said for name in (a, b))})
    return {
        "yes" if world[asked[1]] else "no"
        for world in worlds(people)
        if world[fact[1]] == (fact[2] == "tells the truth")
        and all(world[a] == (world[b] == (what == "tells the truth")) for a, b, what in said)
    }


def island(text: str) -> set[str]:
    said = re.findall(r'(\w+) says: "([^"]+)"', text)
    asked = re.search(r"Is (\w+) a truth-teller or a liar\?", text)
    assert asked is not None
    people = [who for who, _ in said]

    def true(claim: str, world: dict[str, bool]) -> bool:
        if claim == "Exactly one of us is a liar.":
            return list(world.values()).count(False) == 1
        about = re.fullmatch(r"(\w+) is a (liar|truth-teller)\.", claim)
        assert about is not None
        return world[about[1]] == (about[2] == "truth-teller")

    return {
        "truth-teller" if world[asked[1]] else "liar"
        for world in worlds(people)
        if all(true(claim, world) == world[who] for who, claim in said)
    }


def syllogism(text: str) -> set[str]:
    rules = re.findall(r"(All|No) (\w+) are (\w+)\.", text)
    member = re.search(r"(\w+) is a (\w+)\.", text)
    asked = re.search(r"Is (\w+) (\w+)\?", text)
    assert member is not None
    assert asked is not None
    assert member[1] == asked[1]
    known = member[2] + "s"
    properties = sorted({known, asked[2], *(word for _, a, b in rules for word in (a, b))})
    outcomes = {
        world[asked[2]]
        for world in worlds(properties)
        if world[known] and all(not world[a] or world[b] == (kind == "All") for kind, a, b in rules)
    }
    return {"unknown"} if len(outcomes) == 2 else {"yes" if value else "no" for value in outcomes}


def seating(text: str) -> set[str]:
    people = re.findall(r"[A-Z]\w+", text.split(" sit on ")[0])
    left = re.search(r"(\w+) sits at the left end", text)
    pairs = re.findall(r"(\w+) sits directly to the right of (\w+)\.", text)
    asked = re.search(r"in the (\w+) seat from the left", text)
    assert left is not None
    assert asked is not None
    seat = ("first", "second", "third", "fourth", "fifth").index(asked[1])
    return {
        order[seat]
        for order in itertools.permutations(people)
        if order[0] == left[1] and all(order.index(a) == order.index(b) + 1 for a, b in pairs)
    }


def elimination(text: str) -> set[str]:
    head = text.split(". ")[0]
    people, things = re.findall(r"[A-Z]\w+", head), re.findall(r"the [a-z ]+?(?=,| and |$)", head)
    assert len(people) == len(things) == 3
    barred = re.findall(r"(\w+) does not have ([^.]+)\.", text)
    asked = re.search(r"What does (\w+) have\?", text)
    assert asked is not None
    return {
        dict(zip(people, order, strict=True))[asked[1]]
        for order in itertools.permutations(things)
        if not any(
            dict(zip(people, order, strict=True))[who] in what.split(" or ") for who, what in barred
        )
    }


def swaps(text: str) -> set[str]:
    held = dict(re.findall(r"([A-Z]\w+) has (the [a-z ]+?)(?=,| and |\.)", text))
    for a, b in re.findall(r"(\w+) and (\w+) swap", text):
        held[a], held[b] = held[b], held[a]
    asked = re.search(r"What does (\w+) have at the end", text)
    assert asked is not None
    return {held[asked[1]]}


def days(text: str) -> set[str]:
    week = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
    count = {"two": 2, "three": 3, "four": 4, "five": 5}
    fact = re.search(r"The (\w+) is on a (\w+)\.", text)
    asked = re.search(r"On which day is the (\w+)\?", text)
    assert fact is not None
    assert asked is not None
    known = {fact[1]: week.index(fact[2])}
    for event, number, way, other in re.findall(
        r"The (\w+) is (\w+) days (after|before) the (\w+)\.", text
    ):
        known[event] = known[other] + (count[number] if way == "after" else -count[number])
    return {week[known[asked[1]] % 7]}


def conditionals(text: str) -> set[str]:
    rules = re.findall(r"If (.+?), then (.+?)\.", text)
    fact = re.search(r"Today (.+?)\.", text)
    asked = re.search(r"Does it follow that (.+?)\?", text)
    assert fact is not None
    assert asked is not None
    events = sorted({event for rule in rules for event in rule})
    given = fact[1].removeprefix("it is not true that ").replace(" is not ", " is ")
    holds = given == fact[1]
    possible = [
        world
        for world in worlds(events)
        if world[given] == holds and all(not world[a] or world[b] for a, b in rules)
    ]
    assert possible
    return {"yes" if all(world[asked[1]] for world in possible) else "no"}


KINDS: tuple[tuple[str, Callable[[str], set[str]]], ...] = (
    (r"Who (finished|is the|lives|arrived|scored)", ordering),
    (r"^Each person either", honesty),
    (r"^On an island", island),
    (r"yes, no or unknown", syllogism),
    (r" sit on a ", seating),
    (r"Each of them", elimination),
    (r"^At the start", swaps),
    (r"On which day", days),
    (r"Does it follow", conditionals),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["prompt_id"])
def test_logic_answer_is_the_only_one(row: dict[str, str]) -> None:
    fitting = [solve for phrase, solve in KINDS if re.search(phrase, row["text"])]
    assert len(fitting) == 1, "exactly one kind of puzzle"
    assert fitting[0](row["text"]) == {row["answer"]}


def test_every_kind_of_puzzle_occurs() -> None:
    missing = [p for p, _ in KINDS if not any(re.search(p, row["text"]) for row in ROWS)]
    assert not missing


def test_no_answer_can_be_guessed_too_often() -> None:
    answers = [row["answer"] for row in ROWS]
    assert max(answers.count(answer) for answer in answers) <= len(answers) // 3
