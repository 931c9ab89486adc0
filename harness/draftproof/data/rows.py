"""How the rows of each public data set become prompts."""

from __future__ import annotations

import re

from draftproof.data.prompt import Prompt
from draftproof.data.record import Row, text_in

FOLIO_LABELS = {"True": "True", "False": "False", "Uncertain": "Uncertain", "Unknown": "Uncertain"}
"""What each label of FOLIO means; its training file says Unknown for Uncertain."""

FOLIO_QUESTION = (
    "Premises:\n{premises}\n\nConclusion: {conclusion}\n\n"
    "Do the premises make the conclusion true, make it false, or leave it uncertain? "
    "Think step by step, then answer True, False or Uncertain."
)
"""FOLIO has no question of its own; this one is ours."""

SPEED_BENCH_PLACEHOLDER = "FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE"
"""How turns begin that SPEED-Bench may not distribute, until its own script fills them in."""

_MT_BENCH_CATEGORIES = "writing roleplay reasoning math coding extraction stem humanities".split()
_DOMAIN_OF = {"mt_bench": "chat", "math_reasoning": "math", "coding": "code"}


def human_eval(_: str, row: Row) -> Prompt:
    """A function's head and docstring; its answer is the data set's own test of the function."""
    entry_point = text_in(row, "entry_point")
    if not entry_point.isidentifier():
        raise ValueError("'entry_point' is not the name of a function")
    return Prompt(
        prompt_id=text_in(row, "task_id"),
        domain="code",
        text=text_in(row, "prompt"),
        answer=f"{text_in(row, 'test')}\n\ncheck({entry_point})\n",
        scoring="code",
    )


def gsm8k(position_id: str, row: Row) -> Prompt:
    """A word problem; its answer is the number after ``####``."""
    return Prompt(
        prompt_id=position_id,
        domain="math",
        text=text_in(row, "question"),
        answer=final_number(text_in(row, "answer")),
        scoring="number",
    )


def bbh(position_id: str, row: Row) -> Prompt:
    """A question of BIG-Bench Hard; its answer is a word or a letter in brackets."""
    return Prompt(
        prompt_id=position_id,
        domain="logic",
        text=text_in(row, "input"),
        answer=text_in(row, "target"),
        scoring="label",
    )


def folio(position_id: str, row: Row) -> Prompt:
    """Premises and a conclusion, in a question of ours (`FOLIO_QUESTION`).

    Premises are a list in v0, and lines of one text in v2.
    """
    premises = row["premises"]
    lines = premises.split("\n") if isinstance(premises, str) else premises
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ValueError("'premises' is neither a text nor a list of texts")
    label = text_in(row, "label").strip()
    if label not in FOLIO_LABELS:
        raise ValueError(f"'label' is '{label}', expected one of {', '.join(FOLIO_LABELS)}")
    stated = [line.strip() for line in lines if line.strip()]
    if not stated:
        raise ValueError("'premises' is empty")
    return Prompt(
        prompt_id=position_id,
        domain="logic",
        text=FOLIO_QUESTION.format(
            premises="\n".join(stated), conclusion=text_in(row, "conclusion").strip()
        ),
        answer=FOLIO_LABELS[label],
        scoring="label",
    )


def mt_bench(_: str, row: Row) -> Prompt:
    """The first turn of a conversation of MT-Bench."""
    return Prompt(prompt_id=f"mt_bench/{_number(row)}", domain="chat", text=turns(row)[0])


def vicuna(_: str, row: Row) -> Prompt:
    """A question of Vicuna-80."""
    return Prompt(prompt_id=f"vicuna/{_number(row)}", domain="chat", text=turns(row)[0])


def spec_bench(_: str, row: Row) -> Prompt:
    """A question of Spec-Bench: math_reasoning is scored as GSM8K, from which it was taken."""
    part = spec_bench_part(row)
    prompt = Prompt(
        prompt_id=f"spec_bench/{part}/{_number(row)}",
        domain=domain_of(part),
        text=turns(row)[0],
    )
    if part != "math_reasoning":
        return prompt
    reference = row.get("reference")
    if not isinstance(reference, list) or not reference or not isinstance(reference[0], str):
        raise ValueError("'reference' is not a list that starts with a text")
    return Prompt(
        prompt_id=prompt.prompt_id,
        domain=prompt.domain,
        text=prompt.text,
        answer=final_number(reference[0]),
        scoring="number",
    )


def spec_bench_part(row: Row) -> str:
    """The subtask of a row: its category, or ``mt_bench`` for one of MT-Bench's eight."""
    category = text_in(row, "category")
    return "mt_bench" if category in _MT_BENCH_CATEGORIES else category


def speed_bench(_: str, row: Row) -> Prompt:
    """The first turn of a row of SPEED-Bench."""
    category = text_in(row, "category")
    return Prompt(
        prompt_id=f"speed_bench/{category}/{text_in(row, 'question_id')}",
        domain=domain_of(category),
        text=speed_bench_turns(row)[0],
    )


def speed_bench_turns(row: Row) -> list[str]:
    """Everything the user says, once placeholders are filled in."""
    said = turns(row)
    if any(turn.startswith(SPEED_BENCH_PLACEHOLDER) for turn in said):
        raise ValueError(
            "'turns' is a placeholder for text that SPEED-Bench may not distribute; give the file "
            "that its prepare_data.py writes"
        )
    return said


def speed_bench_part(row: Row) -> str:
    """The category of a row."""
    return text_in(row, "category")


def domain_of(part: str) -> str:
    """The domain of a part of Spec-Bench or SPEED-Bench: the study's where one fits, else its own.

    Example:
        >>> [domain_of(part) for part in ("coding", "mt_bench", "rag")]
        ['code', 'chat', 'rag']
    """
    return _DOMAIN_OF.get(part, part)


def turns(row: Row) -> list[str]:
    """Everything the user says in a conversation, in order.

    Raises:
        ValueError: ``turns`` is not a list of texts, or a text is blank.
    """
    said = row["turns"]
    if not isinstance(said, list) or not said or not all(isinstance(turn, str) for turn in said):
        raise ValueError("'turns' is not a list of at least one text")
    if not all(turn.strip() for turn in said):
        raise ValueError("a text in 'turns' is empty")
    return said


def final_number(solution: str) -> str:
    r"""The number after the last ``####`` of a GSM8K solution, without thousands commas.

    Raises:
        ValueError: There is no ``####``, or something else than a number follows it.

    Example:
        >>> final_number("2 + 3 = 5 thousand\n#### 5,000")
        '5000'
    """
    _, marker, tail = solution.rpartition("####")
    number = tail.strip().replace(",", "")
    if not marker or not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", number):
        raise ValueError("'answer' does not end in '#### NUMBER'")
    return number


def _number(row: Row) -> int:
    number = row["question_id"]
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"'question_id' is {type(number).__name__}, expected a whole number")
    return number
