"""What must be said beside every figure that follows from a recording."""

from __future__ import annotations

import numpy as np

from draftproof.config import BUILTIN, BUILTIN_SMALL
from draftproof.replay.recorded import Recording
from draftproof.wording import counted

TIE_MARGIN = 1e-3
"""A margin in logits below which a token's rank is called a near-tie: float32 models' logits move
by less than this with the width of a pass."""

_MANY = 16
"""Tokens of a position among which the target's own choice nearly always is."""

_TOYS = (BUILTIN, BUILTIN_SMALL)
_TOY = (
    "The built-in models are toys: these figures describe only them, and nothing about other "
    "models."
)


def recording_notes(recording: Recording) -> list[str]:
    """Sentences on what a recording is, and how far it can be believed."""
    info = recording.info
    notes = []
    names = [str(model.get("name")) for model in info.models.values()]
    if any(name in _TOYS for name in names):
        notes.append(_TOY)
    if not recording.complete:
        notes.append(
            "The recording is not finished: it holds "
            f"{counted(len(recording.cases), 'prompt')} so far. "
            "Run the same `draftproof record` again to go on."
        )
    if info.off_policy:
        notes.append(
            f"{info.off_policy}. The trajectories are not the target's own text: figures say how "
            f"often drafts agree with that text, of which the target itself would have said at "
            f"most {_own_share(recording):.0%} of the tokens{_of_few(info.k)}."
        )
    close = near_ties(recording)
    if close:
        notes.append(
            f"At {counted(close, 'position')} a token's rank under a draft model hangs on less "
            f"than {TIE_MARGIN:g} in logits: there a live run may round to another tree."
        )
    return notes


def _of_few(k: int) -> str:
    """What makes the bound a loose one."""
    if k >= _MANY:
        return ""
    return f" (no closer with {k} tokens of each position; record with --k {_MANY} or more)"


def near_ties(recording: Recording) -> int:
    """Positions at which rounding may change the rank at which a token is proposed.

    A position counts once, whatever the number of draft models; the first token of an output, which
    no step drafts, does not.
    """
    found = 0
    for case in recording.cases:
        drafted = slice(1, case.committed)
        close = np.zeros(max(0, case.committed - 1), bool)
        for draft in case.drafts.values():
            close |= (draft.columns["margin"][drafted] < TIE_MARGIN) & (
                draft.columns["rank"][drafted] < draft.k
            )
        found += int(np.count_nonzero(close))
    return found


def _own_share(recording: Recording) -> float:
    """The share of tokens that are at least as probable as any that a draft model proposed.

    The target's argmax itself is not recorded: what no draft model proposed is taken to be less
    probable, so that the share is an upper bound.
    """
    agreeing = total = 0
    for case in recording.cases:
        best = np.max(
            [draft.top["top_target_log_probability"].max(axis=1) for draft in case.drafts.values()],
            axis=0,
        )
        agreeing += int(np.count_nonzero(case.target["log_probability"] >= best - 1e-6))
        total += len(case.token_ids)
    return agreeing / total if total else float("nan")
