"""The fingerprint sees every change of id, text or answer, and no change of order."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftproof.data import Prompt, prompts_fingerprint

PROMPTS = st.lists(
    st.builds(
        Prompt,
        prompt_id=st.text(),
        domain=st.just("math"),
        text=st.text(),
        answer=st.none() | st.text(),
    ),
    max_size=6,
)
ONE = Prompt(prompt_id="a/0", domain="math", text="1 + 1?", answer="2")
TWO = Prompt(prompt_id="a/1", domain="math", text="1 + 2?", answer=None)


@given(PROMPTS, st.randoms(use_true_random=False))
def test_order_does_not_matter(prompts: list[Prompt], shuffler: random.Random) -> None:
    shuffled = shuffler.sample(prompts, len(prompts))
    assert prompts_fingerprint(shuffled) == prompts_fingerprint(prompts)


@pytest.mark.parametrize(
    "other",
    [
        [ONE],
        [ONE, TWO, TWO],
        [dataclasses.replace(ONE, prompt_id="a/00"), TWO],
        [dataclasses.replace(ONE, text="1 + 1? "), TWO],
        [dataclasses.replace(ONE, answer="3"), TWO],
        [ONE, dataclasses.replace(TWO, answer="null")],
        [ONE, dataclasses.replace(TWO, answer="None")],
        [ONE, dataclasses.replace(TWO, answer="")],
        [dataclasses.replace(ONE, answer=None), dataclasses.replace(TWO, answer="2")],
        [dataclasses.replace(ONE, prompt_id="a/01", text=" + 1?"), TWO],
    ],
)
def test_every_change_matters(other: list[Prompt]) -> None:
    assert prompts_fingerprint(other) != prompts_fingerprint([ONE, TWO])


def test_the_fingerprint_is_the_same_on_every_machine() -> None:
    # echo -n '["a/0", "1 + 1?", "2"]' | sha256sum | xxd -r -p | sha256sum
    assert (
        prompts_fingerprint([ONE])
        == "248aef66140ca260db5357ec2d115087a1be4e1e21c3b52cf2aede66226d5bb9"
    )


def test_any_text_has_a_fingerprint() -> None:
    odd = dataclasses.replace(ONE, text="\ud800 lone surrogate, é, \u2028")
    assert len(prompts_fingerprint([odd])) == 64
