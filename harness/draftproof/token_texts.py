"""The text of single token ids, as it stands inside an output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence


class TokenTexts:
    """Looks up the text of tokens, each once.

    Args:
        decode: From token ids to text, special tokens included.

    Example:
        >>> words = {0: "the", 1: "cat"}
        >>> texts = TokenTexts(lambda ids: " ".join(words[i] for i in ids))
        >>> texts.of([1, 0, 1])
        {0: ' the', 1: ' cat'}
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._known: dict[int, str] = {}

    def of(self, *token_ids: Iterable[int]) -> dict[int, str]:
        """The text of every id that occurs, by id in ascending order.

        Some tokenizers drop the space before the first token of a text, so a token's text is what
        it adds after itself. A token that is a part of a character has the replacement character.
        """
        wanted = sorted({int(token) for ids in token_ids for token in ids})
        for token in wanted:
            if token not in self._known:
                alone = self._decode([token])
                twice = self._decode([token, token])
                self._known[token] = twice[len(alone) :] if twice.startswith(alone) else alone
        return {token: self._known[token] for token in wanted}
