"""Which tokens two models both speak of, and whether by the same ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from draftproof.errors import ModelError
from draftproof.wording import counted

_Token = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedVocabulary:
    """A target's and a draft model's ids, none of which stands for two different tokens.

    Attributes:
        known: Ids that the draft model can propose, ascending; padding rows that both have, too.
        missing: The target's ids and tokens that it cannot; the target emits them itself.
        extra: Its ids and tokens that the target does not have; they are never proposed.
        other: Ids that stand for another added token in each, with the target's token; they are
            not shared, and are among `missing` too.
    """

    known: tuple[int, ...]
    missing: tuple[_Token, ...]
    extra: tuple[_Token, ...]
    other: tuple[_Token, ...] = ()

    def notes(self, stand_in: str) -> tuple[str, ...]:
        """What a user should know of the two, a line each.

        Args:
            stand_in: What the draft model reads for a token that it does not have.
        """
        notes = []
        if self.other:
            notes.append(
                f"has another added token than the target for {_counted(self.other)}: not shared"
            )
        if self.missing:
            notes.append(
                f"lacks {_counted(self.missing)} of the target: never proposed, and read as "
                f"{stand_in!r} where the text has one; the output stays the target's"
            )
        if self.extra:
            notes.append(f"has {_counted(self.extra)} that the target does not: never proposed")
        return tuple(notes)


def compare_vocabularies(
    target: Mapping[str, int],
    draft: Mapping[str, int],
    *,
    target_rows: int | None = None,
    draft_rows: int | None = None,
    added: Collection[int] = (),
) -> SharedVocabulary:
    """Which ids the two have in common, where each stands for the same string.

    Two models that were made from one vocabulary may have been given padding and control tokens of
    their own afterwards, at ids that were free. Such an id is not shared, and never proposed. Where
    an id of the vocabulary itself stands for two strings, texts become other ids in the two.

    Args:
        target: From token to id, as the target's tokenizer has it.
        draft: The same for the draft model.
        target_rows: Ids from 0 that the target's head is cut to; None for as many as it has tokens.
        draft_rows: Rows of the draft model's head, padding included; None for enough.
        added: Ids of tokens that were added to the vocabulary of either.

    Raises:
        ModelError: An id that is not an added one stands for two different tokens; names the first
            such id. Or the two have no token in common.
    """
    target_tokens = {index: token for token, index in target.items()}
    draft_tokens = {index: token for token, index in draft.items()}
    other = set()
    for index in sorted(target_tokens.keys() & draft_tokens.keys()):
        ours, theirs = target_tokens[index], draft_tokens[index]
        if ours != theirs and index in added:
            other.add(index)
        elif ours != theirs:
            raise ModelError(
                f"the draft model has another tokenizer than the target: id {index} is {ours!r} "
                f"for the target and {theirs!r} for the draft model; speculation needs two models "
                "with one vocabulary"
            )
    size = max(target_tokens, default=-1) + 1 if target_rows is None else target_rows
    rows = size if draft_rows is None else draft_rows
    # An id that neither tokenizer has is a padding row like any other.
    known = tuple(
        index
        for index in range(min(size, rows))
        if (index in target_tokens) == (index in draft_tokens) and index not in other
    )
    if not any(index in target_tokens for index in known):
        raise ModelError(
            "the draft model has no token in common with the target; speculation needs two models "
            "with one vocabulary"
        )
    have = set(known)
    return SharedVocabulary(
        known=known,
        missing=tuple(
            (index, target_tokens[index])
            for index in sorted(target_tokens)
            if index < size and index not in have
        ),
        extra=tuple(
            (index, draft_tokens[index])
            for index in sorted(draft_tokens.keys() - target_tokens.keys())
            if draft_rows is None or index < draft_rows
        ),
        other=tuple((index, target_tokens[index]) for index in sorted(other)),
    )


def _counted(tokens: tuple[_Token, ...]) -> str:
    index, token = tokens[0]
    ids = counted(len(tokens), "id")
    return f"{ids} (first {index}, {token!r})"
