"""One prompt of a suite: what the model is asked, and where it comes from."""

from __future__ import annotations

import re
from dataclasses import dataclass

DOMAINS: tuple[str, ...] = ("code", "math", "logic", "chat")
"""The study's four domains, in the order in which reports list them."""

SCORINGS: tuple[str, ...] = ("number", "label", "code")
"""How an output can be compared with an answer (see `draftproof.scoring`)."""


OVERALL = "overall"
"""What reports call the figures of all domains together; no domain may have this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt with a stable identity.

    Attributes:
        prompt_id: Stable across runs and machines, unique in a run, for example
            ``HumanEval/0``, ``gsm8k/test/17``, ``bbh/web_of_lies/3``, ``mt_bench/81``
            or ``builtin/code/01``.
        domain: ``code``, ``math``, ``logic`` or ``chat``, or the name of a suite of one's own.
        text: What the user says, before any chat template.
        answer: The reference answer where the data set has one (for scoring), else None. For
            code: a program that ends without an error if the functions before it are right.
        scoring: One of `SCORINGS`; None for what is not scored.
        earlier: What the user said before, in a conversation. Each is answered by the target's own
            plain decoding before the next is asked.
        messages: A recorded conversation as JSON text: messages of any role, the last of which is
            to be answered, and whose content is `text`. Empty where there is none.
        token_ids: The prompt itself as ids of the target's tokenizer, no template added; empty
            where the text or the messages are encoded.
    """

    prompt_id: str
    domain: str
    text: str
    answer: str | None = None
    scoring: str | None = None
    earlier: tuple[str, ...] = ()
    messages: str = ""
    token_ids: tuple[int, ...] = ()


def domain_problem(domain: str) -> str:
    """Why a name cannot be a domain's; empty if it can.

    Example:
        >>> domain_problem("sql")
        ''
        >>> domain_problem(" Overall")[:45]
        "a domain cannot be called 'overall', as repor"
    """
    if domain.strip().casefold() != OVERALL:
        return ""
    return (
        f"a domain cannot be called '{OVERALL}', as reports call the figures of all domains "
        "together; give it another name"
    )


def turn_id(prompt_id: str, turn: int) -> str:
    """The id of a turn of the conversation that a prompt belongs to.

    Args:
        prompt_id: Of any turn of it.
        turn: From 1.

    Example:
        >>> turn_id("mt_bench/81", 2), turn_id("mt_bench/81/turn2", 1)
        ('mt_bench/81/turn2', 'mt_bench/81')
    """
    first = re.sub(r"/turn\d+$", "", prompt_id)
    return first if turn == 1 else f"{first}/turn{turn}"
