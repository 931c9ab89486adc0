"""Recording along a text that is not the target's own, such as the outputs of a production log.

What a tree would keep of it is then a statement about that text: how often the draft models propose
what the text says. It is what a run keeps only as far as the target would have said the same, so
everything that follows from such a recording is labelled *off-policy*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from draftproof.data.json_lines import read_json_lines
from draftproof.data.record import Row
from draftproof.errors import DataError, printable
from draftproof.models.loading import ModelPair
from draftproof.replay.recorder import Trajectory

_STOPPED, _CUT = "stop_token", "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class OffPolicyText:
    """A prompt and what came after it.

    Attributes:
        case_id: Unique.
        domain: Its domain.
        prompt: Text, put into the chat template, or token ids as they are.
        output: Text or token ids.
        source: The file that it comes from.
    """

    case_id: str
    domain: str
    prompt: str | tuple[int, ...]
    output: str | tuple[int, ...]
    source: str

    def encoded(self, pair: ModelPair, max_new_tokens: int) -> tuple[tuple[int, ...], Trajectory]:
        """The prompt's token ids, and the output as a trajectory of at most so many tokens.

        Raises:
            DataError: There is no token, or one that the target does not know.
        """
        prompt = pair.encode(self.prompt) if isinstance(self.prompt, str) else self.prompt
        if isinstance(self.output, str):
            encoded: Any = pair.tokenizer(self.output, add_special_tokens=False)["input_ids"]
            output = tuple(encoded)
        else:
            output = self.output
        room = pair.target.max_length - len(prompt)
        kept = output[: max(0, min(max_new_tokens, room))]
        if not prompt or not kept:
            raise DataError(
                f"{self.source}: {self.case_id} has {len(prompt)} prompt tokens and {len(kept)} "
                "output tokens within the target's context; each is at least 1"
            )
        for token in (*prompt, *kept):
            if not 0 <= token < pair.target.vocabulary_size:
                raise DataError(
                    f"{self.source}: {self.case_id} has the token id {token}, and the target's "
                    f"vocabulary has {pair.target.vocabulary_size}; the ids are another tokenizer's"
                )
        stopped = len(kept) == len(output)
        return prompt, Trajectory(
            token_ids=kept, committed=len(kept), stop_reason=_STOPPED if stopped else _CUT
        )


def read_texts(path: Path) -> list[OffPolicyText]:
    """Prompts with their outputs from a file of JSON lines.

    Args:
        path: An object a line, with ``prompt`` (text) or ``prompt_token_ids``, ``output`` (text) or
            ``output_token_ids``, and, where it has them, ``domain`` and ``id``.

    Raises:
        DataError: The file cannot be read, or a line lacks one of these; the message names it.
    """
    texts: list[OffPolicyText] = []
    for index, (where, row) in enumerate(read_json_lines(path)):
        texts.append(
            OffPolicyText(
                case_id=_name(where, row, "id", f"{path.stem}/{index}"),
                domain=_name(where, row, "domain", "own"),
                prompt=_part(where, row, "prompt"),
                output=_part(where, row, "output"),
                source=where,
            )
        )
    if not texts:
        raise DataError(f"{path} has no line")
    ids = [text.case_id for text in texts]
    for text in texts:
        if ids.count(text.case_id) > 1:
            raise DataError(f"{text.source}: the id '{text.case_id}' occurs twice; ids are unique")
    return texts


def off_policy_label(texts: Sequence[OffPolicyText] | None) -> str:
    """What a recording says of where its trajectories come from; empty for the target's own."""
    if texts is None:
        return ""
    said = sum(1 for text in texts if text.output)
    return f"off-policy: {said} texts of {Path(texts[0].source.partition(',')[0]).name}"


def _name(where: str, row: Row, name: str, otherwise: str) -> str:
    """A name or a number, as text; another one where there is none, or null.

    Raises:
        DataError: It is a list, an object or a truth value.
    """
    value = row.get(name)
    if value is None:
        return otherwise
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{where}: '{name}' is {value!r}, and should be a text")
    return _text(where, name, str(value))


def _text(where: str, name: str, text: str) -> str:
    """A text that can be written and tokenized.

    Raises:
        DataError: It has half a surrogate pair, which JSON can spell and UTF-8 cannot.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: '{name}' has half a character ({printable(repr(text[error.start]))}), as a "
            "text that was cut in the middle has; leave it out, or give the whole text"
        ) from error
    return text


def _part(where: str, row: Row, name: str) -> str | tuple[int, ...]:
    text, ids = row.get(name), row.get(f"{name}_token_ids")
    if isinstance(text, str) and ids is None:
        return _text(where, name, text)
    if text is None and isinstance(ids, list) and all(type(token) is int for token in ids):
        return tuple(ids)
    raise DataError(f"{where}: give '{name}' as a text, or '{name}_token_ids' as a list of ids")
