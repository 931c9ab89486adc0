"""The scores of a case: of its plain output and of its speculative one."""

from __future__ import annotations

from draftproof.scoring.code import score_code
from draftproof.scoring.label import score_label
from draftproof.scoring.number import score_number


def score(
    output: str, *, prompt: str, answer: str | None, scoring: str | None, execute_code: bool = False
) -> float | None:
    """1 for a right answer, 0 for a wrong one or none; None for what is not scored.

    Args:
        output: What the model wrote, without the token that ends it.
        prompt: What it was asked.
        answer: The reference answer.
        scoring: ``number``, ``label`` or ``code``; None for what is not scored.
        execute_code: Whether ``code`` may be run; without, it is not scored.

    Raises:
        DraftproofError: Code is to be run, and no sandbox can be made here.

    Example:
        >>> score("So it is 7.", prompt="3 + 4?", answer="7", scoring="number")
        1.0
    """
    if answer is None or scoring is None:
        return None
    if scoring == "number":
        return score_number(output, answer)
    if scoring == "label":
        return score_label(output, answer)
    return score_code(output, prompt=prompt, answer=answer) if execute_code else None


def score_pair(
    plain: str,
    speculative: str,
    *,
    prompt: str,
    answer: str | None,
    scoring: str | None,
    execute_code: bool = False,
) -> tuple[float | None, float | None]:
    """The scores of both outputs; equal outputs are scored once.

    So a program that is slow by chance cannot part the scores of a lossless engine.

    Raises:
        DraftproofError: As for `score`.
    """
    first = score(plain, prompt=prompt, answer=answer, scoring=scoring, execute_code=execute_code)
    if speculative == plain:
        return first, first
    second = score(
        speculative, prompt=prompt, answer=answer, scoring=scoring, execute_code=execute_code
    )
    return first, second
