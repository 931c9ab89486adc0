"""The cases of a recording side by side: one row a case, padded to the longest trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.replay.recorded import UNKNOWN_RANK, RecordedCase, RecordingInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Some cases under one draft model, as arrays.

    Roots are counted from 0, the first token of the output, which the target decides alone: at root
    t the tokens t + 1, t + 2, … are drafted.

    Attributes:
        case_ids: ``[cases]``.
        ranks: ``[cases, tokens]`` int32, the sibling rank at which a tree proposes each token;
            `UNKNOWN_RANK` beyond the end of what was recorded.
        coupling: ``[cases, tokens]`` float64, min(1, q/p) of each token; 0 beyond the end.
        committed: ``[cases]`` tokens of each output.
        prompt_tokens: ``[cases]``.
        room: ``[cases, tokens]`` the greatest depth of a draft at each root, for which both
            models have positions left.
    """

    case_ids: tuple[str, ...]
    ranks: np.ndarray
    coupling: np.ndarray
    committed: np.ndarray
    prompt_tokens: np.ndarray
    room: np.ndarray

    def __len__(self) -> int:
        return len(self.case_ids)


def align(cases: Sequence[RecordedCase], draft: str, info: RecordingInfo) -> Alignment:
    """Cases side by side.

    Args:
        cases: Of the recording.
        draft: Name of a draft model.
        info: Of the recording: how far its models' contexts reach.
    """
    longest = max((len(case.token_ids) for case in cases), default=1)
    ranks = np.full((len(cases), longest), UNKNOWN_RANK, np.int32)
    coupling = np.zeros((len(cases), longest))
    for row, case in enumerate(cases):
        n = len(case.token_ids)
        ranks[row, :n] = case.drafts[draft].columns["rank"]
        coupling[row, :n] = np.nan_to_num(case.coupling_probability(draft))
    prompt_tokens = np.array([len(case.prompt_token_ids) for case in cases])
    return Alignment(
        case_ids=tuple(case.case_id for case in cases),
        ranks=ranks,
        coupling=coupling,
        committed=np.array([case.committed for case in cases]),
        prompt_tokens=prompt_tokens,
        room=rooms(prompt_tokens, longest, info.max_lengths["target"], info.max_lengths[draft]),
    )


def rooms(prompt_tokens: np.ndarray, tokens: int, target: int, draft: int) -> np.ndarray:
    """The greatest depth of a draft at each root.

    Args:
        prompt_tokens: ``[cases]``.
        tokens: Roots.
        target: The most tokens that the target attends to.
        draft: Likewise of the draft model, which never sees the last node of a path.

    Returns:
        ``[cases, tokens]``, at least 0.
    """
    sequence = prompt_tokens[:, None] + np.arange(tokens) + 1
    return np.maximum(0, np.minimum(target - sequence, draft - sequence + 1))
