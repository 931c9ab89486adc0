"""Prompts from a file of one's own, whose columns the user names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from draftproof.data.conversations import KEYS, as_text, content_of, in_own_keys
from draftproof.data.prompt import SCORINGS, Prompt, domain_problem
from draftproof.data.prompt_files import other_columns, read_prompt_file
from draftproof.data.record import Record, check_records, text_in
from draftproof.data.rows import turns
from draftproof.errors import DataError
from draftproof.prompt_sources import COLUMN_KEYS, OWN_PROMPTS
from draftproof.scoring.number import parse_number

_WORD = re.compile(r"[\w .+-]{1,64}")
_LONGEST_ID = 200
_LARGEST_TOKEN = 2**31 - 1


def own_records(path: Path, columns: Mapping[str, str]) -> list[Record]:
    """The prompts of a file, in its order.

    Args:
        path: A file in one of `draftproof.data.prompt_files.FORMATS`. Rows as other tools write
            them are understood, too (`draftproof.data.conversations`).
        columns: The column for each of `COLUMN_KEYS`; one that is not named has the key's own name
            if the file has such a column:

            - ``prompt``: what the user says; or ``turns``: a list of it, one text a turn.
            - ``messages``: a recorded conversation, whose last message of the user or of a tool is
              to be answered; or ``token_ids``: the prompt as ids of the target's tokenizer.
            - ``answer``: the reference answer; a number is read as a number.
            - ``scoring``: how to compare with it, one of `draftproof.data.prompt.SCORINGS`; without
              the column, ``number`` for an answer that is one, else ``label``.
            - ``domain``: ``code``, ``math``, ``logic``, ``chat`` or a word of one's own; ``own``
              without the column.
            - ``id``: unique in the file; the row's position from 0 without the column.

    Returns:
        Without their rows.

    Raises:
        DataError: The file cannot be read, or a row is not as said; the message names the line.
    """
    wanted = {key: columns.get(key, key) for key in COLUMN_KEYS}
    found = set[str]()
    records: list[Record] = []
    first_problem: DataError | None = None
    for where, row in read_prompt_file(path, {*wanted.values(), *KEYS}):
        # A row goes as soon as its prompt is made: other columns may be much larger.
        found.update(row)
        try:
            known = in_own_keys(row)
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
        found.update(known)
        if first_problem is not None:
            continue
        named = {key: known[name] for key, name in wanted.items() if name in known}
        try:
            records.append(_record(len(records), named))
        except ValueError as error:
            first_problem = DataError(f"{where}: {error}")
    if first_problem is not None or not set(columns.values()) <= found:
        found.update(other_columns(path))
    for key, column in columns.items():
        if column not in found:
            raise DataError(
                f"--spec-columns {key}={column}: {path} has no column '{column}'; "
                f"its columns are {', '.join(sorted(found)) or 'none'}"
            )
    is_asked = any(wanted[key] in found for key in ("prompt", "turns", "messages", "token_ids"))
    if found and not is_asked:
        raise DataError(
            f"{path}: no column 'prompt'; found {', '.join(sorted(found))}; name the right one "
            "with --spec-columns, for example prompt=question. Known without it: 'messages', "
            "'conversations' (ShareGPT), 'turns', 'text', 'token_ids' and lines of OpenAI's batch "
            "files"
        )
    if first_problem is not None:
        raise first_problem
    check_records(str(path), records)
    return records


def _record(index: int, named: Mapping[str, object]) -> Record:
    messages, token_ids = "", tuple[int, ...]()
    if named.get("messages") is not None:
        asked = cast("list[dict[str, Any]]", named["messages"])
        messages, said = as_text(asked), [content_of(asked[-1])]
    elif named.get("token_ids") is not None:
        token_ids = _token_ids(named["token_ids"])
        said = [f"{len(token_ids)} token ids: {' '.join(map(str, token_ids))}"]
    elif named.get("turns") is not None:
        said = turns(named)
    elif "prompt" in named:
        said = [text_in(named, "prompt")]
    else:
        raise ValueError("no 'prompt' in this line")
    domain = _word(named, "domain", OWN_PROMPTS)
    if problem := domain_problem(domain):
        raise ValueError(problem)
    answer = _answer(named)
    _require_encodable((*said, messages, answer or ""))
    scoring = None
    if answer is not None:
        scoring = _scoring(named, answer)
    elif named.get("scoring") is not None:
        raise ValueError("'scoring' without an 'answer'")
    prompt = Prompt(
        prompt_id=f"{OWN_PROMPTS}/{domain}/{_id(named, str(index))}",
        domain=domain,
        text=said[0],
        answer=answer,
        scoring=scoring,
        messages=messages,
        token_ids=token_ids,
    )
    return Record(prompt=prompt, row={}, turns=tuple(said))


def _token_ids(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("'token_ids' is not a list of at least one whole number")
    for place, token in enumerate(value):
        if isinstance(token, bool) or not isinstance(token, int):
            raise ValueError(f"'token_ids' has {token!r} at position {place}, no whole number")
        if not 0 <= token <= _LARGEST_TOKEN:
            raise ValueError(
                f"'token_ids' has {token} at position {place}; ids are 0 to {_LARGEST_TOKEN}"
            )
    return tuple(value)


def _require_encodable(texts: Sequence[str]) -> None:
    """Verify that a tokenizer can be given what is said.

    Raises:
        ValueError: A text has half of a surrogate pair, which no UTF-8 has.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = f"U+{ord(text[error.start]):04X}"
            raise ValueError(
                f"the text has {half} at character {error.start}, half of a surrogate pair, which "
                "no tokenizer can encode; write the whole character, or leave it out"
            ) from None


def _id(named: Mapping[str, object], default: str) -> str:
    """What names a row: any text on one line, of a length that still fits into reports."""
    value = named.get("id")
    if value is None:
        return default
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.strip() or not text.isprintable():
        raise ValueError(f"'id' is {value!r}, expected a number, or text on one line")
    if len(text) > _LONGEST_ID:
        raise ValueError(f"'id' has {len(text)} characters; up to {_LONGEST_ID} are read")
    return text


def _answer(named: Mapping[str, object]) -> str | None:
    answer = named.get("answer")
    if isinstance(answer, list):
        if len(answer) != 1:
            raise ValueError(
                f"'answer' is a list of {len(answer)}; an output is scored against one answer"
            )
        answer = answer[0]
    if answer is None or isinstance(answer, str):
        return answer
    if isinstance(answer, bool) or not isinstance(answer, (int, float)):
        raise ValueError(f"'answer' is {type(answer).__name__}, expected text or a number")
    return repr(answer)


def _scoring(named: Mapping[str, object], answer: str) -> str:
    scoring = named.get("scoring")
    if scoring is None:
        return "label" if parse_number(answer) is None else "number"
    if scoring not in SCORINGS:
        raise ValueError(f"'scoring' is '{scoring}', expected one of {', '.join(SCORINGS)}")
    if scoring == "number" and parse_number(answer) is None:
        raise ValueError(f"the answer '{answer}' is not a number")
    return str(scoring)


def _word(named: Mapping[str, object], key: str, default: str) -> str:
    value = named.get(key)
    if value is None:
        return default
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    text = text.strip() if isinstance(text, str) else text
    if not isinstance(text, str) or not _WORD.fullmatch(text):
        raise ValueError(
            f"'{key}' is {value!r}, expected up to 64 letters, digits, spaces or . _ + -"
        )
    return text
