"""The greedy certificate: is every token of an output the target's own choice, and if not, why not?

Equality of two texts is too strict, since near-ties flip when a token is scored in a block of
another width, and too weak, since it stops at the first fork. Here the whole output is teacher-
forced through the target in one forward pass, and each token is judged after its own prefix.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float

from draftproof.lossless.widths import scored_as_decoded, spread, target_alone
from draftproof.models.protocol import CausalLM
from draftproof.sampling import TokenLaw, argmax
from draftproof.trace import Fork, Verdict

TIE_TOLERANCE = {"float64": 1e-9, "float32": 2e-3, "float16": 1e-1, "bfloat16": 1.0}
"""By dtype, the margin in logits within which rounding may be the reason of a fork.

Four times the largest spread between block widths that the target alone showed on the models of
``docs/lossless.md``, rounded; a fork must also be reproduced without a drafter (see `certify`)."""

_SHOWN_TOKENS = 16
_SHOWN_FORKS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What teacher-forcing an output showed.

    Attributes:
        verdict: `Verdict.IDENTICAL`, `Verdict.NUMERICAL` or `Verdict.ALGORITHMIC`.
        forks: Every token that is not the target's own choice, in order.
        tie_tolerance: The margin in logits that was allowed.
        engine_rounding: The margin up to which a fork needs no reproduction by the judge.
    """

    verdict: Verdict
    forks: tuple[Fork, ...]
    tie_tolerance: float
    engine_rounding: float = 0.0


def certify(
    prompt: Sequence[int],
    output: Sequence[int],
    target: CausalLM,
    law: TokenLaw,
    *,
    widths: Sequence[int],
    plain: Sequence[int] | None = None,
    plain_decides: bool = False,
    plain_alone: bool = False,
    tie_tolerance: float | None = None,
    engine_rounding: float = 0.0,
) -> Certificate:
    """Whether a greedy output is the target's own, token for token, each after its own prefix.

    A fork is *numerical* where the target's margin is within the tolerance **and** the target alone
    comes to the emitted token in a block of the same width or with a cache that was filled in
    blocks of the same widths, or `plain` came to it after the same tokens; or where the target
    varies between these ways by more than half the margin: at the fork, or with the cache anywhere
    in the output. A model that varies at all is taken to vary by the last digit of its type.
    An engine with other kernels than `target`'s, or in another type, rounds where `target` cannot
    show it: there a margin of at most `engine_rounding` suffices.
    Anything else is *algorithmic*: the tolerance alone would pass a wrong tie-break, and
    reproduction alone a model whose cache is wrong.

    Args:
        prompt: ``[≥ 1]`` token ids.
        output: ``[n]`` the committed tokens after it.
        target: Scores the output from scratch, and forks in blocks of other widths.
        law: Greedy; its penalties are applied before the argmax.
        widths: ``[n]`` how many tokens were scored in one block when each token was emitted; 1 for
            plain decoding.
        plain: What the target's plain decoding gave for this prompt; where it parts from the
            output, that place is judged too, although the pass over everything may agree with the
            output.
        plain_decides: Whether `plain` comes from other weights or kernels than `target`'s, such as
            an engine's quantised ones. What it emitted after the same tokens is then the choice of
            the target that was speculated for, and no fork, whatever `target` holds of it.
        plain_alone: Whether `target` is not asked for what the output is, such as one that keeps to
            a grammar. Then only the first place is judged where `plain` parts from the output:
            after it, nothing is known of what should have come.
        tie_tolerance: Margin in logits; None for the dtype's entry of `TIE_TOLERANCE`.
        engine_rounding: By how much the difference of two logits of the engine's may leave
            `target`'s. The tolerance is at least as large.

    Mutates: target.
    """
    if tie_tolerance is None:
        tie_tolerance = TIE_TOLERANCE.get(target_dtype(target), 0.0)
    tie_tolerance = max(tie_tolerance, engine_rounding)
    sequence = [*prompt, *output]
    first = len(prompt)
    logits = _penalised(target.recompute(sequence, first - 1)[:-1], sequence, first, law)
    own = argmax(logits).tolist()
    agreed = _common_length(output, plain or ())
    begin = agreed if plain_decides else 0
    if plain_alone:
        begin = len(output)
    places = {i for i in range(begin, len(output)) if output[i] != own[i]}
    if plain is not None and agreed < min(len(output), len(plain)):
        places.add(agreed)
        own[agreed] = plain[agreed]
    forks = [
        _fork(index, own[index], sequence, first, logits[index], target, law, widths[index])
        for index in sorted(places)
    ]
    forks = [replace(fork, reproduced=fork.reproduced or fork.index < agreed) for fork in forks]
    if any(
        fork.margin <= tie_tolerance and not _is_numerical(fork, tie_tolerance, engine_rounding)
        for fork in forks
    ):
        # As many forward passes as tokens: only where nothing quicker explains a fork.
        decoded = scored_as_decoded(target, prompt, output, widths)
        decoded = _penalised(decoded, sequence, first, law)
        varies = max(spread(torch.stack(ways)) for ways in zip(logits, decoded, strict=True))
        forks = [_seen_again(fork, decoded[fork.index], varies) for fork in forks]
    return Certificate(
        verdict=_verdict(forks, tie_tolerance, engine_rounding),
        forks=tuple(forks),
        tie_tolerance=tie_tolerance,
        engine_rounding=engine_rounding,
    )


def explain(
    certificate: Certificate,
    output: Sequence[int],
    decode: Callable[[Sequence[int]], str],
    *,
    of_plain: bool = False,
    advice: str = "",
) -> str:
    """What is wrong with an output, where, and what to do: its first forks, the worst kind first.

    Args:
        certificate: Of this output.
        output: The committed tokens.
        decode: From token ids to text.
        of_plain: Whether it was decoded plainly, without drafts.
        advice: What else to do about an output that changed.

    Returns:
        Lines; empty where every token is the target's own choice.
    """
    forks, tolerance = certificate.forks, certificate.tie_tolerance
    if not forks:
        return ""
    judged = [(fork, _is_numerical(fork, tolerance, certificate.engine_rounding)) for fork in forks]
    worst = [fork for fork, _ in sorted(judged, key=lambda pair: (pair[1], pair[0].index))]
    what = f"{len(forks)} of {len(output)} tokens"
    lines = [
        f"{'plain decoding' if of_plain else 'speculation'} changed the output: {what} are not the "
        "target's own choice (algorithmic)"
        if certificate.verdict is Verdict.ALGORITHMIC
        else f"rounding changed the output: {what} are not the target's own choice (numerical)"
    ]
    for fork in worst[:_SHOWN_FORKS]:
        before = decode(output[max(0, fork.index - _SHOWN_TOKENS) : fork.index])
        after = decode(output[fork.index + 1 : fork.index + 1 + _SHOWN_TOKENS])
        lines += [
            f"  token {fork.index}, after {before!r}:",
            f"    the target's choice  {decode([fork.target_token_id])!r} "
            f"(id {fork.target_token_id})",
            f"    emitted instead      {decode([fork.token_id])!r} (id {fork.token_id}), "
            f"and then {after!r}",
            f"    {_reason(fork, tolerance, certificate.engine_rounding)}",
        ]
    if len(forks) > _SHOWN_FORKS:
        lines.append(f"  and {len(forks) - _SHOWN_FORKS} more")
    if certificate.verdict is Verdict.ALGORITHMIC:
        lines += _PLAIN_ADVICE if of_plain else _advice(worst[0])
        lines += [advice] if advice else []
    return "\n".join(lines)


def _reason(fork: Fork, tolerance: float, engine_rounding: float) -> str:
    """Why a fork is rounding, or why it is not: its margin and the bound."""
    rounding = f"rounding, which moves these logits by {fork.spread:.2g}"
    if fork.margin > tolerance:
        return (
            f"the logit margin {fork.margin:.4g} exceeds the tie tolerance {tolerance:g}: not "
            f"{rounding}"
        )
    within = f"the logit margin {fork.margin:.4g} is within the tie tolerance {tolerance:g}"
    if not fork.reproduced and engine_rounding > 0 and fork.margin <= engine_rounding:
        return f"{within}: rounding of the engine's own, taken to be up to {engine_rounding:g}"
    if fork.reproduced:
        return f"{within}, and the target alone comes to this token: {rounding}"
    return f"{within}, but the target alone never comes to this token: not {rounding}"


_PLAIN_ADVICE = (
    "  What to do: compare decoding with a cache with one forward pass of the target over all",
    "    these tokens without one, which the choices above are of. They may differ in the cache,",
    "    in positions or masks, or in an argument that the model ignores (logits_to_keep).",
)


def _advice(fork: Fork) -> list[str]:
    step = f"the step that emitted token {fork.index}"
    return [
        f"  What to do: look at {step}; pytest --report draws it.",
        "    Either its acceptance rule kept or drew a wrong token, or the rule was given wrong",
        "    logits: with the reference engine, pytest --spec-check-state 1 fails in that case.",
    ]


def target_dtype(target: CausalLM) -> str:
    """The name of the type that a model computes in, as far as it tells."""
    model = getattr(target, "model", None)
    return str(getattr(model, "dtype", "float64")).removeprefix("torch.")


def _fork(
    index: int,
    own: int,
    sequence: Sequence[int],
    first: int,
    row: Float[torch.Tensor, " vocabulary"],
    target: CausalLM,
    law: TokenLaw,
    width: int,
) -> Fork:
    token, context = sequence[first + index], sequence[: first + index]
    alone = target_alone(target, context, width)
    alone = law.penalised(alone, lambda: [context] * len(alone))
    varies = max(spread(alone), _step(alone, row[own], target_dtype(target)))
    margin = abs(float(row[own] - row[token]))
    reproduced = token in argmax(alone).tolist() or margin < 2 * varies
    return Fork(
        index=index,
        token_id=token,
        target_token_id=own,
        margin=margin,
        width=width,
        spread=varies,
        reproduced=reproduced,
    )


def _step(
    alone: Float[torch.Tensor, "ways vocabulary"], logit: Float[torch.Tensor, ""], dtype: str
) -> float:
    """The distance of a logit to the next that its type can hold, if the model rounds at all."""
    if not spread(alone):
        return 0.0
    return float(torch.finfo(getattr(torch, dtype)).eps * 2.0 ** logit.abs().log2().floor())


def _common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two outputs begin with alike."""
    both = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], both))


def _seen_again(fork: Fork, row: Float[torch.Tensor, " vocabulary"], varies: float) -> Fork:
    """The fork, with what repeating the decoding's blocks shows: there, and anywhere."""
    varies = max(fork.spread, varies)
    chosen = int(argmax(row[None])[0]) == fork.token_id
    reproduced = fork.reproduced or chosen or fork.margin < 2 * varies
    return replace(fork, spread=varies, reproduced=reproduced)


def _penalised(
    logits: torch.Tensor, sequence: Sequence[int], first: int, law: TokenLaw
) -> Float[torch.Tensor, "rows vocabulary"]:
    return law.penalised(logits, lambda: [sequence[: first + i] for i in range(len(logits))])


def _verdict(forks: Sequence[Fork], tie_tolerance: float, engine_rounding: float) -> Verdict:
    if not forks:
        return Verdict.IDENTICAL
    if all(_is_numerical(fork, tie_tolerance, engine_rounding) for fork in forks):
        return Verdict.NUMERICAL
    return Verdict.ALGORITHMIC


def _is_numerical(fork: Fork, tie_tolerance: float, engine_rounding: float) -> bool:
    is_reproduced = fork.reproduced and fork.margin <= tie_tolerance
    # An exact tie is no near-tie: who does not round breaks it as the target does.
    return is_reproduced or (engine_rounding > 0 and fork.margin <= engine_rounding)
