"""Does an answer depend on what it must not: other draws, drafts, earlier requests?"""

from __future__ import annotations

from dataclasses import replace

from draftproof.config import Sampling
from draftproof.conformance.subject import Finding, Subject, not_available
from draftproof.engines.protocol import Capability, Generation
from draftproof.lossless.certificate import target_dtype
from draftproof.shapes import ChainShape, KAryShape, LookupShape, TreeShape

SAMPLED = Sampling(temperature=1.0)
_REPEATS = 3
_SELF_DRAFT = 4
_TREE_TOKENS = 8
"""Enough to see a tree that does not begin with the most probable tokens."""
_LEAST_SHARE = {"bfloat16": 0.95, "float16": 0.95}
"""Near-ties that rounding flips cost a self-draft some tokens in these types."""


def same_request_twice(subject: Subject) -> Finding:
    """The same request has the same answer: at temperature 0, and with a seed above it."""
    tally = subject.tally()
    for sampling in (Sampling(), SAMPLED):
        with subject.engine(sampling=sampling) as engine:
            if not sampling.greedy and Capability.SEEDS not in engine.capabilities:
                return tally.finding("above temperature 0 not available: the engine has no seeds")
            for prompt in subject.prompts[:_REPEATS]:
                asked = subject.request(prompt, sampling=sampling)
                first, second = engine.speculate(asked), engine.speculate(asked)
                tally.require(
                    first.token_ids == second.token_ids,
                    f"{prompt.prompt_id} at temperature {sampling.temperature:g}: "
                    f"{_parting(first, second)}",
                )
    return tally.finding()


def other_seeds(subject: Subject) -> Finding:
    """Above temperature 0 another seed, or the same prompt in another request, is drawn anew."""
    tally = subject.tally()
    sampling = _lively(subject)
    with subject.engine(sampling=sampling) as engine:
        if not {Capability.SEEDS, Capability.SAMPLING} <= engine.capabilities:
            return not_available(Capability.SEEDS)
        same = {"another seed": True, "another request": True}
        for prompt in subject.prompts[:_REPEATS]:
            asked = subject.request(prompt, sampling=sampling)
            first = engine.speculate(asked).token_ids
            others = {
                "another seed": replace(asked, seed=asked.seed + 1),
                "another request": replace(asked, request_id=f"{asked.request_id}/again"),
            }
            for what, other in others.items():
                same[what] &= engine.speculate(other).token_ids == first
    for what, all_same in same.items():
        tally.require(
            not all_same,
            f"{what} has the same outputs token for token: draws do not depend on it",
        )
    return tally.finding()


def _lively(subject: Subject) -> Sampling:
    """A temperature at which two outputs of independent draws are not the same by chance."""
    return Sampling(temperature=max(1.0, subject.config.sampling.temperature))


def other_draft_length(subject: Subject) -> Finding:
    """At temperature 0 the output stays the target's own with drafts of other lengths."""
    tally = subject.tally()
    for shape in (ChainShape(1), ChainShape(7)):
        tree: TreeShape = (
            LookupShape(shape.length) if isinstance(subject.config.tree, LookupShape) else shape
        )
        with subject.engine(tree=tree, rule="auto") as engine:
            for prompt in subject.prompts[:_REPEATS]:
                judged = subject.judged(engine, subject.request(prompt))
                tally.add(f"{prompt.prompt_id} with {tree}", judged)
    return tally.finding()


def self_draft(subject: Subject) -> Finding:
    """With the target as its own draft model, drafts are kept down to the end at temperature 0."""
    tally = subject.tally()
    drafted = kept = 0
    pair = subject.self_draft()
    share = _LEAST_SHARE.get(target_dtype(pair.target), 1.0)
    for shape in _self_drafts(subject.config.tree):
        with subject.engine(pair=pair, tree=shape, rule="auto") as engine:
            if Capability.COUNTS not in engine.capabilities:
                return not_available(Capability.COUNTS)
            is_lookup = isinstance(subject.config.tree, LookupShape)
            if is_lookup or Capability.PAIR_DRAFT not in engine.capabilities:
                return not_available(Capability.PAIR_DRAFT)
            if not shape.is_chain and Capability.NODES not in engine.capabilities:
                continue
            depth = shape.length if isinstance(shape, ChainShape) else shape.depth
            tokens = subject.config.max_new_tokens
            if not shape.is_chain:
                tokens = min(tokens, _TREE_TOKENS)
            for prompt in subject.prompts[:_REPEATS]:
                generation = engine.speculate(subject.request(prompt, max_new_tokens=tokens))
                if generation.counts is None:
                    return not_available(Capability.COUNTS)
                counts = generation.counts
                drafted += counts.drafted
                kept += counts.accepted
                # The end of an output may cut the last draft.
                least = (counts.drafted / shape.most_nodes - 1) * depth * share
                tally.require(
                    counts.accepted >= least,
                    f"{prompt.prompt_id}, {shape}: of {counts.drafted} tokens that the target "
                    f"drafted for itself {counts.accepted} were kept, and {least:.0f} should be; "
                    "its state as a draft model, or what it proposes, is not its own",
                )
    return tally.finding(drafted=drafted, accepted=kept)


def _self_drafts(tree: TreeShape) -> tuple[ChainShape | KAryShape, ...]:
    """The subject's own tree where it holds every most probable token, and a chain."""
    chain = ChainShape(_SELF_DRAFT)
    return (tree, chain) if isinstance(tree, KAryShape) else (chain,)


def earlier_requests(subject: Subject) -> Finding:
    """A long request leaves nothing behind: a short one after it is answered as by a new engine."""
    tally = subject.tally()
    longest = max(subject.prompts, key=lambda prompt: len(prompt.text))
    others = [prompt for prompt in subject.prompts if prompt is not longest][:_REPEATS]
    for prompt in others:
        asked = subject.request(prompt)
        with subject.engine() as engine:
            fresh = engine.speculate(asked)
        with subject.engine() as engine:
            for _ in range(2):
                engine.speculate(subject.request(longest))
            after = engine.speculate(asked)
        tally.require(
            fresh.token_ids == after.token_ids,
            f"{prompt.prompt_id}: its output changed: {_parting(fresh, after)}",
        )
        tally.require(
            _accepted(fresh) == _accepted(after),
            f"{prompt.prompt_id}: {_accepted(fresh)} drafted tokens were kept by a new engine, "
            f"{_accepted(after)} after another request: something is left over from it",
        )
    return tally.finding()


def _accepted(generation: Generation) -> int | None:
    return None if generation.counts is None else generation.counts.accepted


def _parting(first: Generation, second: Generation) -> str:
    pairs = zip(first.token_ids, second.token_ids, strict=False)
    index = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    if index is None:
        return f"{len(first.token_ids)} tokens, and then {len(second.token_ids)}"
    return f"token {index} is {first.token_ids[index]}, and then {second.token_ids[index]}"
