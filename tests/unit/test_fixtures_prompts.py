"""The built-in prompts: their form, the code stubs, and every math answer worked out again.

The rules below read numbers out of the text alone; nothing here uses the generators.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
DOMAINS = ("code", "math", "logic", "chat")


def rows(domain: str) -> list[dict[str, str | None]]:
    """Return the prompts of a domain as they are stored."""
    lines = (FIXTURES / "prompts" / f"{domain}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


# A phrase that only this kind of problem has, and its answer from the numbers in their order.
RULES: tuple[tuple[str, Callable[..., Fraction]], ...] = (
    (r"How much change", lambda n, price, paid: paid - n * price),
    (r"with the same number in each", lambda a, b, bags: (a + b) / bags),
    (r"kilometres per hour", lambda v, t, w, u: v * t + w * u),
    (r"metres of fence", lambda a, b: a + b + a + b),
    (r"tiles long", lambda a, b, owned: a * b - owned),
    (r"sum of their ages", lambda age, gap, years: (age + years) + (age + gap + years)),
    (r"pages are left", lambda pages, daily, days: pages - daily * days),
    (r"dollars per hour", lambda rate, hours, days: rate * hours * days),
    (r"percent off", lambda price, percent: price * (100 - percent) / 100),
    (r"hens", lambda hens, eggs, days, used: hens * eggs * days - used),
    (r"saves", lambda start, weekly, weeks, spent: start + weekly * weeks - spent),
    (r"seats are empty", lambda a, b, taken: a * b - taken),
    (r"leaks out", lambda litres, inflow, outflow: litres / (inflow - outflow)),
    (r"A recipe for", lambda people, cups, guests: cups / people * guests),
    (r"times as many", lambda small, factor: small + small * factor),
    (r"average score", lambda a, b, c: (a + b + c) / 3),
    (r"passengers are there now", lambda s, a, b, c, d: s - a + b - c + d),
    (r"together\. \w+ has \d+ more than", lambda total, gap: (total + gap) / 2),
)


@pytest.mark.parametrize("domain", DOMAINS)
def test_fifty_well_formed_prompts(domain: str) -> None:
    found = rows(domain)
    assert [row["prompt_id"] for row in found] == [
        f"builtin/{domain}/{number:02d}" for number in range(1, 51)
    ]
    for row in found:
        assert list(row) == ["prompt_id", "domain", "text", "answer"]
        assert row["domain"] == domain
        text = row["text"]
        assert text is not None
        assert text == text.strip()
        assert len(text) > 15
        assert not re.search(r"<\||\[|\$\w" if domain != "code" else r"<\|", text)


def test_texts_are_unique() -> None:
    texts = [row["text"] for domain in DOMAINS for row in rows(domain)]
    assert len(set(texts)) == len(texts) == 200


@pytest.mark.parametrize("domain", DOMAINS)
def test_answers_where_a_domain_has_them(domain: str) -> None:
    answered = [bool(row["answer"]) for row in rows(domain)]
    assert all(answered) if domain in ("math", "logic") else not any(answered)


@pytest.mark.parametrize("row", rows("code"), ids=lambda row: row["prompt_id"])
def test_stub_is_a_typed_documented_function(row: dict[str, str]) -> None:
    (function,) = ast.parse(row["text"] + "\n    pass\n").body
    assert isinstance(function, ast.FunctionDef)
    assert function.returns is not None
    assert function.args.args
    assert all(argument.annotation is not None for argument in function.args.args)
    documented = ast.get_docstring(function)
    assert documented is not None
    # The docstring speaks about the arguments, so the task can be done from the stub alone.
    assert any(re.search(rf"\b{a.arg}\b", documented) for a in function.args.args) or (
        function.args.args[0].arg == "data" and "entries" in documented
    )


@pytest.mark.parametrize("row", rows("math"), ids=lambda row: row["prompt_id"])
def test_math_answer_follows_from_the_text(row: dict[str, str]) -> None:
    fitting = [rule for phrase, rule in RULES if re.search(phrase, row["text"])]
    assert len(fitting) == 1, "exactly one kind of problem"
    numbers = [Fraction(number) for number in re.findall(r"\d+", row["text"])]
    assert fitting[0](*numbers) == Fraction(row["answer"])
    assert Fraction(row["answer"]) > 0


def test_every_kind_of_math_problem_occurs() -> None:
    texts = [str(row["text"]) for row in rows("math")]
    missing = [phrase for phrase, _ in RULES if not any(re.search(phrase, t) for t in texts)]
    assert not missing
