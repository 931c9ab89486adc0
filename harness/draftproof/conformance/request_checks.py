"""Does an answer depend on what it must not: other draws, drafts, earlier requests?"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from draftproof.config import Sampling
from draftproof.conformance.check_result import Finding, Tally, not_available
from draftproof.conformance.subject import GREEDY, Subject
from draftproof.engines.certifying import certified
from draftproof.engines.protocol import Capability, Engine, Generation, Request
from draftproof.lossless.certificate import target_dtype
from draftproof.sampling import TokenLaw
from draftproof.shapes import ChainShape, KAryShape, LookupShape, TreeShape
from draftproof.trace import Counts, Verdict

_REPEATS = 3
_LENGTHS = (1, 7)
_SELF_DRAFT = 4
_TREE_TOKENS = 8
"""Enough to see a tree that does not begin with the most probable tokens."""
_LEAST_SHARE = {"bfloat16": 0.95, "float16": 0.95}
"""Near-ties that rounding flips cost a self-draft some tokens in these types."""
_HOT = 2.0
"""A temperature at which outputs of independent draws are seldom the same by chance."""
_CHANCE = 1e-4
"""The most probable that independent draws are taken for the same ones."""
Drafting = tuple[int | None, int | None, int]
"""Steps, those with a draft, and drafted tokens, as far as an engine counts them."""


def same_request_twice(subject: Subject) -> Finding:
    """The same request has the same answer: at temperature 0, and with a seed above it."""
    tally = subject.tally("tokens that were answered twice")
    for sampling in (GREEDY, subject.sampled):
        if not sampling.greedy and not _seeded(subject):
            return tally.finding(
                "above temperature 0 not available: the engine has no seeds",
                untried="no token came back",
            )
        with subject.engine(sampling=sampling) as engine:
            for prompt in subject.prompts[:_REPEATS]:
                asked = subject.request(prompt, sampling=sampling)
                first, second = engine.speculate(asked), engine.speculate(asked)
                tally.numerical += is_rounding(subject, engine, asked, first, second)
                tally.require(
                    is_same(subject, engine, asked, first, second),
                    f"{prompt.prompt_id} at temperature {sampling.temperature:g}: "
                    f"{parting(first, second)}",
                    places=len(first.token_ids),
                )
    return tally.finding(untried="no token came back")


def _seeded(subject: Subject) -> bool:
    return {Capability.SEEDS, Capability.SAMPLING} <= subject.capabilities


def is_same(
    subject: Subject, engine: Engine, asked: Request, first: Generation, second: Generation
) -> bool:
    """Whether two answers are the same, but for near-ties that rounding explains.

    A server that finds a prompt in its cache scores it in blocks of other widths than before.
    """
    same = first.token_ids == second.token_ids
    return same or is_rounding(subject, engine, asked, first, second)


def is_rounding(
    subject: Subject, engine: Engine, asked: Request, first: Generation, second: Generation
) -> bool:
    """Whether two greedy answers differ, and at near-ties alone."""
    shorter = min(len(first.token_ids), len(second.token_ids))
    if not asked.sampling.greedy or first.token_ids[:shorter] == second.token_ids[:shorter]:
        return False
    found = certified(asked, second, subject.pair, subject.config, engine, first.token_ids)
    return found.verdict is not Verdict.ALGORITHMIC


def other_seeds(subject: Subject) -> Finding:
    """Above temperature 0 another seed, or the same prompt in another request, is drawn anew."""
    tally = subject.tally("pairs of outputs that independent draws would make differ")
    sampling = Sampling(temperature=max(_HOT, subject.sampled.temperature))
    for capability in (Capability.SAMPLING, Capability.SEEDS):
        if capability not in subject.capabilities:
            return not_available(capability)
    with subject.engine(sampling=sampling) as engine:
        same = {"another seed": True, "another request": True}
        chance, pairs = 0.0, 0
        for prompt in subject.prompts:
            asked = subject.request(prompt, sampling=sampling)
            first = engine.speculate(asked).token_ids
            others = {
                "another seed": replace(asked, seed=asked.seed + 1),
                "another request": replace(asked, request_id=f"{asked.request_id}/again"),
            }
            for what, other in others.items():
                same[what] &= engine.speculate(other).token_ids == first
            chance += _log_chance(subject, asked, first)
            pairs += 1
            if chance < math.log(_CHANCE) and pairs >= _REPEATS:
                break
    # Outputs that are nearly certain are the same whatever was drawn.
    is_telling = chance < math.log(_CHANCE)
    undecided = not is_telling and any(same.values())
    for what, all_same in same.items():
        tally.require(
            not all_same or not is_telling,
            f"{what} has the same outputs token for token, which independent draws come to with a "
            f"chance of {math.exp(chance):.1g}: draws do not depend on it. An engine that can be "
            "given a number alone must be given Request.folded_seed",
            places=0 if undecided else pairs,
        )
    return tally.finding(
        untried="the outputs are so certain that draws of other seeds may well be the same "
        f"(chance {math.exp(chance):.2g}); give other prompts or a higher temperature"
    )


def _log_chance(subject: Subject, request: Request, tokens: tuple[int, ...]) -> float:
    """The logarithm of the probability that the target draws this output."""
    prompt = request.prompt_token_ids
    law = TokenLaw(request.sampling, len(prompt), request.stopping.stop_token_ids)
    logits = subject.pair.target.recompute([*prompt, *tokens], len(prompt) - 1)[:-1]
    laws = law.distributions(
        logits, lambda: [[*prompt, *tokens[:index]] for index in range(len(tokens))]
    )
    chances = (float(row[token]) for row, token in zip(laws, tokens, strict=True))
    return sum(math.log(chance) if chance > 0 else -math.inf for chance in chances)


def other_draft_length(subject: Subject) -> Finding:
    """At temperature 0 the output stays the target's own with drafts of other lengths."""
    tally = subject.tally("outputs that were drafted in another way")
    usual = _drafting(subject, {})
    for length in _LENGTHS:
        settings = _of_length(subject, length)
        if settings is None:
            return not_available(Capability.DRAFT_LENGTH)
        with subject.engine(**settings) as engine:
            for prompt in subject.prompts[:_REPEATS]:
                judged = subject.judged(engine, subject.request(prompt))
                counts = judged.generation.counts
                is_other = counts is None or (
                    (counts.drafted or 0) > 0 and _drafts(counts) != usual.get(prompt.prompt_id)
                )
                tally.add(f"{prompt.prompt_id} with drafts of {length}", judged, int(is_other))
    return tally.finding(untried="nothing was drafted, or as much as before")


def _of_length(subject: Subject, length: int) -> dict[str, Any] | None:
    """The settings of which an engine drafts so many tokens; None where there are none."""
    capabilities = subject.capabilities
    if subject.config.drafter is not None:
        return None
    if Capability.RUN_SETTINGS in capabilities:
        is_lookup = isinstance(subject.config.tree, LookupShape)
        tree: TreeShape = LookupShape(length) if is_lookup else ChainShape(length)
        return {"tree": tree, "rule": "auto"}
    if Capability.DRAFT_LENGTH in capabilities:
        kept = [pair for pair in subject.config.engine_options if pair[0] != "draft_length"]
        return {"engine_options": (*kept, ("draft_length", str(length)))}
    return None


def _drafting(subject: Subject, settings: dict[str, Any]) -> dict[str, Drafting]:
    """How much is drafted for each prompt, as far as the engine tells."""
    found = {}
    with subject.engine(**settings) as engine:
        for prompt in subject.prompts[:_REPEATS]:
            counts = engine.speculate(subject.request(prompt)).counts
            if counts is not None:
                found[prompt.prompt_id] = _drafts(counts)
    return found


def _drafts(counts: Counts) -> Drafting:
    return counts.steps, counts.drafted_steps, counts.drafted or 0


def self_draft(subject: Subject) -> Finding:
    """With the target as its own draft model, drafts are kept down to the end at temperature 0."""
    tally = subject.tally("tokens that the target drafted for itself")
    capabilities = subject.capabilities
    is_lookup = isinstance(subject.config.tree, LookupShape)
    if Capability.COUNTS not in capabilities:
        return not_available(Capability.COUNTS)
    if is_lookup or Capability.PAIR_DRAFT not in capabilities:
        return not_available(Capability.PAIR_DRAFT)
    drafted = kept = 0
    pair = subject.self_draft()
    share = _LEAST_SHARE.get(target_dtype(pair.target), 1.0)
    for shape in _self_drafts(subject.config.tree):
        if not shape.is_chain and Capability.NODES not in capabilities:
            continue
        settings: dict[str, Any] = {}
        if Capability.RUN_SETTINGS in capabilities:
            settings = {"tree": shape, "rule": "auto"}
        with subject.engine(pair=pair, **settings) as engine:
            depth = shape.length if isinstance(shape, ChainShape) else shape.depth
            tokens = subject.config.max_new_tokens
            if not shape.is_chain:
                tokens = min(tokens, _TREE_TOKENS)
            for prompt in subject.prompts[:_REPEATS]:
                generation = engine.speculate(subject.request(prompt, max_new_tokens=tokens))
                if generation.counts is None:
                    return not_available(Capability.COUNTS)
                counts = generation.counts
                own = counts.drafted or 0
                drafted += own
                kept += counts.accepted
                # The end of an output may cut the last draft.
                least = (own / shape.most_nodes - 1) * depth * share
                tally.require(
                    counts.accepted >= least,
                    f"{prompt.prompt_id}, {shape}: of {own} tokens that the target "
                    f"drafted for itself {counts.accepted} were kept, and {least:.0f} should be; "
                    "its state as a draft model, or what it proposes, is not its own",
                    places=max(0, math.ceil(least)),
                )
    return tally.finding(
        untried=f"{drafted} tokens were drafted, which is less than the last draft may lose at the "
        "end of an output; give longer outputs, or look why the engine does not draft",
        drafted=drafted,
        accepted=kept,
    )


def _self_drafts(tree: TreeShape) -> tuple[ChainShape | KAryShape, ...]:
    """The subject's own tree where it holds every most probable token, and a chain."""
    chain = ChainShape(_SELF_DRAFT)
    return (tree, chain) if isinstance(tree, KAryShape) else (chain,)


def take_early_answers(subject: Subject) -> None:
    """Ask an engine before any check does; `earlier_requests` compares with what it says then.

    What an engine leaves behind may outlive the object (a module's variable, a server), so that an
    engine that is made anew is no measure of one that has served nothing.
    """
    if subject.early:
        return
    answers = []
    samplings = [GREEDY, *([subject.sampled] if _seeded(subject) else [])]
    for sampling in samplings:
        with subject.engine(sampling=sampling) as engine:
            for prompt in _short(subject):
                asked = subject.request(prompt, sampling=sampling)
                answers.append((asked, engine.speculate(asked)))
    subject.early.extend(answers)


def _short(subject: Subject) -> list[Any]:
    """All prompts but the longest, or that one alone; a few of them."""
    longest = max(subject.prompts, key=lambda prompt: len(prompt.text))
    return [prompt for prompt in subject.prompts if prompt is not longest][:_REPEATS] or [longest]


def earlier_requests(subject: Subject) -> Finding:
    """All requests before it leave nothing behind: it is answered as it was before any of them."""
    tally = subject.tally("tokens that were answered before and after all others")
    take_early_answers(subject)
    longest = max(subject.prompts, key=lambda prompt: len(prompt.text))
    for asked, fresh in subject.early:
        sampling = asked.sampling
        with subject.engine(sampling=sampling) as engine:
            for _ in range(2):
                engine.speculate(subject.request(longest, sampling=sampling))
            after = engine.speculate(asked)
            tally.require(
                fresh.counts is None or after.counts is not None,
                f"{asked.request_id}: counts were told before the engine had served anything else, "
                "and are not now",
                places=0,
            )
            require_same_answer(
                subject, tally, engine, asked, fresh, after,
                when=("before the engine had served anything else", "now"),
                meaning="something is left over from other requests",
            )  # fmt: skip
    return tally.finding(untried="no token came back")


def require_same_answer(
    subject: Subject,
    tally: Tally,
    engine: Engine,
    asked: Request,
    first: Generation,
    second: Generation,
    *,
    when: tuple[str, str],
    meaning: str,
    where: str = "",
    places: int | None = None,
) -> None:
    """Hold an answer to an earlier one of the same request, by its tokens and what was counted.

    Counts are compared where both are told and the tokens are the same.

    Args:
        subject: What is examined.
        tally: Told each token that came twice.
        engine: It answered.
        asked: The request.
        first: What must not change.
        second: What is held to it.
        when: On what occasion each was answered, for messages.
        meaning: What other counts say.
        where: In what surroundings, added to the request's name.
        places: That were examined; every token for None.
    """
    name = f"{asked.request_id} at temperature {asked.sampling.temperature:g}{where}"
    tally.numerical += is_rounding(subject, engine, asked, first, second)
    tally.require(
        is_same(subject, engine, asked, first, second),
        f"{name}: its output is another one than {when[0]}: {parting(first, second)}",
        places=len(first.token_ids) if places is None else places,
    )
    before, after = first.counts, second.counts
    if before is not None and after is not None and first.token_ids == second.token_ids:
        tally.require(
            is_kept(engine, before, after),
            f"{name}: {said(before)} {when[0]}, and {said(after)} {when[1]}: {meaning}",
            places=0,
        )


def is_kept(engine: Engine, fresh: Counts, after: Counts) -> bool:
    """Whether as much was drafted and kept; kernels that are not the judge's may round a draft."""
    if Capability.PAIR_TARGET in engine.capabilities:
        return fresh == after
    drafts = fresh.drafted_steps or fresh.steps or 1
    draft = math.ceil(max((fresh.drafted or 0) / drafts, 1))
    return abs(fresh.accepted - after.accepted) <= draft


def said(counts: Counts | None) -> str:
    """What an engine counted, in words."""
    if counts is None:
        return "no counts were told"
    steps = "" if counts.steps is None else f" in {counts.steps} steps"
    return f"{counts.accepted} of {counts.drafted} drafted tokens were kept{steps}"


def parting(first: Generation, second: Generation) -> str:
    """Where two answers part, in words."""
    pairs = zip(first.token_ids, second.token_ids, strict=False)
    index = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    if index is None:
        return f"{len(first.token_ids)} tokens, and then {len(second.token_ids)}"
    return f"token {index} is {first.token_ids[index]}, and then {second.token_ids[index]}"
