"""The greedy certificate of an engine's answer, and what rounding of its own excuses."""

from __future__ import annotations

from draftproof.config import RunConfig
from draftproof.engines.extra_body import beyond_judge, extras_of
from draftproof.engines.protocol import Capability, Engine, Generation, Request
from draftproof.lossless.certificate import TIE_TOLERANCE, Certificate, certify
from draftproof.models.loading import ModelPair
from draftproof.sampling import TokenLaw

_TWO_SPREADS = 0.5
"""`TIE_TOLERANCE` is four times the largest spread of one logit that was measured."""


def certified(
    request: Request,
    generation: Generation,
    pair: ModelPair,
    config: RunConfig,
    engine: Engine,
    plain: tuple[int, ...] | None = None,
) -> Certificate:
    """The greedy certificate of an engine's answer.

    Args:
        request: What was asked, at temperature 0.
        generation: The answer.
        pair: The judge's models.
        config: Its tie tolerance, and the size of drafts where the engine does not tell its steps.
        engine: What answered: where it does not compute with the judge's target, its own plain
            decoding decides, and it rounds in its own places.
        plain: What plain decoding answered, where it is known; see `certify`.
    """
    prompt = request.prompt_token_ids
    return certify(
        prompt,
        generation.token_ids,
        pair.target,
        TokenLaw(request.sampling, len(prompt), request.stopping.stop_token_ids),
        widths=widths(generation, config),
        plain=plain,
        plain_decides=plain_decides(engine),
        plain_alone=bool(judged_by_plain(engine, request)),
        tie_tolerance=config.tie_tolerance,
        engine_rounding=engine_rounding(engine, config),
    )


def plain_decides(engine: Engine) -> bool:
    """Whether an engine's plain decoding is of weights or kernels that are not the judge's."""
    return (
        Capability.PLAIN in engine.capabilities
        and Capability.PAIR_TARGET not in engine.capabilities
    )


def judged_by_plain(engine: Engine, request: Request | None = None) -> tuple[str, ...]:
    """What an engine is asked for that no judge applies, such as a grammar, by its names.

    It says so of itself (``judged_by_plain`` in what it describes), unless a request has extras of
    its own. Its own plain decoding of the same requests is then the only reference.

    Args:
        engine: What is asked.
        request: What it is asked for; None for any that has no extras of its own.
    """
    if request is not None and request.extras is not None:
        return beyond_judge(extras_of(request, {}))
    told = engine.describe().get("judged_by_plain")
    return tuple(map(str, told)) if isinstance(told, list | tuple) else ()


def plain_advice(engine: Engine, request: Request) -> str:
    """What 'the target' is where an engine's plain decoding is the only reference; else empty."""
    unknown = judged_by_plain(engine, request)
    if not unknown:
        return ""
    return (
        f"  The judge does not apply {', '.join(unknown)}: 'the target' is the engine's own plain "
        "decoding here, and one of the two may not obey. Only the first place is judged where they "
        "part."
    )


def engine_rounding(engine: Engine, config: RunConfig) -> float:
    """By how much the margin of two tokens may differ between an engine's target and the judge's.

    An engine with the judge's kernels: by nothing that the judge cannot reproduce. Another: by the
    tolerance that the settings state; else, where it tells the type that it computes in, by what
    rounding in that type may do to two logits. What it does not tell is taken to be nothing.
    """
    if Capability.PAIR_TARGET in engine.capabilities:
        return 0.0
    if config.tie_tolerance is not None:
        return config.tie_tolerance
    return TIE_TOLERANCE.get(str(engine.describe().get("dtype")), 0.0) * _TWO_SPREADS


def rounding_advice(engine: Engine, config: RunConfig, margin: float = 0.0) -> str:
    """What to do where a right engine may fail for its own rounding, of which nothing is told.

    Args:
        engine: What failed a check.
        config: Its tie tolerance.
        margin: The largest logit margin that rounding would have to explain.

    Returns:
        An indented line; empty where the engine's rounding is known, or the coarsest type would not
        explain the margin.
    """
    coarsest = max(TIE_TOLERANCE, key=TIE_TOLERANCE.__getitem__)
    if (
        Capability.PAIR_TARGET in engine.capabilities
        or engine_rounding(engine, config) > 0
        or config.tie_tolerance is not None
        or margin > TIE_TOLERANCE[coarsest] * _TWO_SPREADS
    ):
        return ""
    settings = engine.describe()
    tell = f"tell it with --spec-engine-option dtype={coarsest}, or " if "dtype" in settings else ""
    return (
        "  If the engine computes in a coarser type than the judge, rounding may be the reason: "
        f"{tell}state with --spec-tie-tolerance how far its logit margins may be off."
    )


def widths(generation: Generation, config: RunConfig) -> list[int]:
    """How many tokens were scored in one block when each token was emitted.

    From the engine's steps; of an engine that does not tell them, as many as the settings' drafts
    have with their root.
    """
    tokens = len(generation.token_ids)
    if generation.steps is None:
        return [1] + [config.tree.most_nodes + 1] * (tokens - 1)
    found = [1] * (tokens - int(generation.steps["committed_tokens"].sum()))
    for nodes, committed in zip(
        generation.steps["nodes"].tolist(),
        generation.steps["committed_tokens"].tolist(),
        strict=True,
    ):
        found += [nodes + 1] * committed
    return found[:tokens]
