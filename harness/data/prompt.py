"""One prompt of a suite: what the model is asked, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass

DOMAINS: tuple[str, ...] = ("code", "math", "logic", "chat")
"""The study's four domains, in the order in which reports list them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt with a stable identity.

    Attributes:
        prompt_id: Stable across runs and machines, unique in a run, for example
            ``HumanEval/0``, ``gsm8k/test/17``, ``bbh/web_of_lies/3``, ``mt_bench/81``
            or ``builtin/code/01``.
        domain: ``code``, ``math``, ``logic`` or ``chat``, or the name of a suite of one's own.
        text: What the user says, before any chat template.
        answer: The reference answer where the data set has one (for scoring), else None.
    """

    prompt_id: str
    domain: str
    text: str
    answer: str | None = None
