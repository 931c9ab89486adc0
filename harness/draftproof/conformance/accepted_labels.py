"""Are the tokens that an engine calls accepted those that its draft model proposes?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from draftproof.engines.protocol import Generation, Request
from draftproof.models.checked import tolerance
from draftproof.models.protocol import CausalLM
from draftproof.transfer import received


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedLabels:
    """What was found of the tokens that an engine calls accepted.

    Attributes:
        judged: Tokens whose label was compared with what the draft model proposes.
        problems: A line for each output in which one is wrong, of either kind.
    """

    judged: int
    problems: list[str]


def judged_labels(
    generation: Generation, request: Request, draft: CausalLM, *, is_chain: bool = False
) -> JudgedLabels:
    """Compare the labels of a greedy output with the draft model's own choices.

    An accepted token was drafted after exactly the tokens before it. So it is the draft model's
    most probable token there, or, of a draft with several tokens after one another's, among as many
    of the most probable ones as one draft has. And where a chain ends in a rejection, the token
    that was emitted there is not the draft model's choice, or it would have been kept. Counters
    that fit together say nothing of either.

    Args:
        generation: An engine's answer to a request at temperature 0, drafted by a model.
        request: What it answers.
        draft: The draft model. Mutated: its state.
        is_chain: Whether its drafts are known to be chains; else as wide as steps or counts allow.
    """
    tokens, accepted = generation.token_ids, generation.accepted
    if accepted is None or len(accepted) != len(tokens) or not tokens:
        return JudgedLabels(judged=0, problems=[])
    prompt = request.prompt_token_ids
    logits = draft.recompute([*prompt, *tokens], len(prompt) - 1)[:-1]
    share = tolerance(logits.dtype)
    rows = received(logits)
    width = 1 if is_chain else _width(generation)
    rejected = _rejected(generation)
    judged, problems = 0, []
    for index, (token, row) in enumerate(zip(tokens, rows, strict=True)):
        slack = 2 * share * float(row[np.isfinite(row)].std())
        if accepted[index]:
            judged += 1
            rank = int(np.count_nonzero(row > row[token] + slack)) if token < len(row) else len(row)
            if rank >= width:
                problems.append(
                    f"token {index} of the output is called accepted, and the draft model has "
                    f"{rank} tokens there that are more probable: it proposes {width} at most"
                )
        elif index in rejected:
            judged += 1
            others = np.delete(row, token) if token < len(row) else row
            if token < len(row) and row[token] > others.max() + slack:
                problems.append(
                    f"token {index} of the output is said to have replaced a rejected one, and is "
                    "the draft model's own choice"
                )
    return JudgedLabels(judged=judged, problems=problems[:1])


def _width(generation: Generation) -> int:
    """How many tokens a draft may have in one place."""
    steps, counts = generation.steps, generation.counts
    if steps is not None:
        return 1 + int((steps["nodes"] - steps["depth"]).max(initial=0))
    drafts = None if counts is None else counts.drafted_steps or counts.steps
    if counts is None or not drafts:
        return 1
    return max(1, math.ceil((counts.drafted or 0) / drafts))


def _rejected(generation: Generation) -> set[int]:
    """The indices at which a chain ended in a rejection, as far as steps are told."""
    steps = generation.steps
    if steps is None:
        return set()
    index = len(generation.token_ids) - int(steps["committed_tokens"].sum())
    found = set()
    columns = ("nodes", "depth", "accepted_length", "committed_tokens")
    rows = zip(*(steps[name].tolist() for name in columns), strict=True)
    for nodes, depth, kept, committed in rows:
        if nodes == depth and kept < nodes and committed == kept + 1:
            found.add(index + kept)
        index += committed
    return found
