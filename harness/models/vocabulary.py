"""Whether two models speak of the same tokens by the same ids."""

from __future__ import annotations

from collections.abc import Mapping

from harness.errors import ModelError


def require_same_vocabulary(target: Mapping[str, int], draft: Mapping[str, int]) -> None:
    """Refuse a draft model whose ids stand for other strings than the target's.

    Args:
        target: From token to id, as the target's tokenizer has it.
        draft: The same for the draft model.

    Raises:
        ModelError: Names the first id at which the two differ, and both tokens.
    """
    if target == draft:
        return
    target_tokens = {index: token for token, index in target.items()}
    draft_tokens = {index: token for token, index in draft.items()}
    for index in sorted(target_tokens.keys() | draft_tokens.keys()):
        ours, theirs = target_tokens.get(index), draft_tokens.get(index)
        if ours != theirs:
            raise ModelError(
                f"the draft model has another tokenizer than the target: id {index} is "
                f"{_shown(ours)} for the target and {_shown(theirs)} for the draft model; "
                "speculation needs two models with one vocabulary"
            )


def _shown(token: str | None) -> str:
    return "no token" if token is None else repr(token)
