"""Replays prompt lookup: what it proposes follows from the tokens alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from draftproof.continuation import continuation
from draftproof.replay.alignment import rooms
from draftproof.replay.recorded import RecordedCase, RecordingInfo
from draftproof.replay.variable import VariableSums, walk


def replay_lookup(
    cases: Sequence[RecordedCase], lengths: Sequence[int], ngram: int, info: RecordingInfo
) -> VariableSums:
    """What prompt lookup would have kept of each case.

    Whatever the temperature: what it proposes is given, and the point-mass rule keeps a proposed
    token exactly if it emits it.

    Args:
        cases: Of the recording.
        lengths: Tokens proposed at most, of each configuration.
        ngram: Longest run of last tokens that is looked up.
        info: Of the recording: how far the target's context reaches.
    """
    longest = max(lengths, default=0)
    proposed, kept = [], []
    for case in cases:
        found, same = _proposals(case, ngram, longest)
        prompt, target = np.array([len(case.prompt_token_ids)]), info.max_lengths["target"]
        [room] = rooms(prompt, len(found), target, target)
        limit = np.minimum(np.array(lengths)[:, None], room)
        proposed.append(np.minimum(found, limit))
        kept.append(np.minimum(same, limit))
    return walk(cases, proposed, kept, longest)


def _proposals(case: RecordedCase, ngram: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """At every root, how many tokens are proposed, and how many of them the trajectory has."""
    prompt, tokens = case.prompt_token_ids.tolist(), case.token_ids.tolist()
    found, same = np.zeros((2, len(tokens)), int)
    sequence = list(prompt)
    for root, token in enumerate(tokens[: case.committed]):
        sequence.append(token)
        proposal = list(continuation(sequence, ngram)[:longest])
        follows = tokens[root + 1 : root + 1 + len(proposal)]
        found[root] = len(proposal)
        agree = [a == b for a, b in zip(proposal, follows, strict=False)]
        same[root] = agree.index(False) if False in agree else len(agree)
    return found, same
