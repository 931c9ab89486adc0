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
    """

    verdict: Verdict
    forks: tuple[Fork, ...]
    tie_tolerance: float


def certify(
    prompt: Sequence[int],
    output: Sequence[int],
    target: CausalLM,
    law: TokenLaw,
    *,
    widths: Sequence[int],
    plain: Sequence[int] | None = None,
    plain_decides: bool = False,
    tie_tolerance: float | None = None,
) -> Certificate:
    """Whether a greedy output is the target's own, token for token, each after its own prefix.

    A fork is *numerical* where the target's margin is within the tolerance **and** the target alone
    comes to the emitted token in a block of the same width or with a cache that was filled in
    blocks of the same widths, or `plain` came to it after the same tokens; or where the target
    varies between these ways by more than half the margin: at the fork, or with the cache anywhere
    in the output. A model that varies at all is taken to vary by the last digit of its type.
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
        tie_tolerance: Margin in logits; None for the dtype's entry of `TIE_TOLERANCE`.

    Mutates: target.
    """
    if tie_tolerance is None:
        tie_tolerance = TIE_TOLERANCE.get(target_dtype(target), 0.0)
    sequence = [*prompt, *output]
    first = len(prompt)
    logits = _penalised(target.recompute(sequence)[first - 1 : -1], sequence, first, law)
    own = argmax(logits).tolist()
    agreed = _common_length(output, plain or ())
    begin = agreed if plain_decides else 0
    places = {i for i in range(begin, len(output)) if output[i] != own[i]}
    if plain is not None and agreed < min(len(output), len(plain)):
        places.add(agreed)
        own[agreed] = plain[agreed]
    forks = [
        _fork(index, own[index], sequence, first, logits[index], target, law, widths[index])
        for index in sorted(places)
    ]
    forks = [replace(fork, reproduced=fork.reproduced or fork.index < agreed) for fork in forks]
    if any(fork.margin <= tie_tolerance and not fork.reproduced for fork in forks):
        # As many forward passes as tokens: only where nothing quicker explains a fork.
        decoded = scored_as_decoded(target, prompt, output, widths)
        decoded = _penalised(decoded, sequence, first, law)
        varies = max(spread(torch.stack(ways)) for ways in zip(logits, decoded, strict=True))
        forks = [_seen_again(fork, decoded[fork.index], varies) for fork in forks]
    return Certificate(
        verdict=_verdict(forks, tie_tolerance), forks=tuple(forks), tie_tolerance=tie_tolerance
    )


def explain(
    certificate: Certificate,
    output: Sequence[int],
    decode: Callable[[Sequence[int]], str],
    *,
    output_is: str = "speculative",
) -> str:
    """A message on the forks of an output: the text before each, both tokens, and the margins.

    Args:
        certificate: Of this output.
        output: The committed tokens.
        decode: From token ids to text.
        output_is: How it was decoded.
    """
    forks = certificate.forks
    if not forks:
        return ""
    judged = [(fork, _is_numerical(fork, certificate.tie_tolerance)) for fork in forks]
    worst = sorted(judged, key=lambda pair: (pair[1], pair[0].index))
    lines = [
        f"the {output_is} output leaves the target's own at {len(forks)} of {len(output)} tokens "
        f"({certificate.verdict})"
    ]
    for fork, is_numerical in worst[:_SHOWN_FORKS]:
        before = decode(output[max(0, fork.index - _SHOWN_TOKENS) : fork.index])
        after = decode(output[fork.index + 1 : fork.index + 1 + _SHOWN_TOKENS])
        why = (
            "rounding, as the target alone does the same"
            if is_numerical
            else f"not rounding, which could explain {certificate.tie_tolerance:g}"
            if fork.margin > certificate.tie_tolerance
            else "not rounding, as the target alone does not do the same"
        )
        lines += [
            f"  token {fork.index}, after {before!r}",
            f"    target       {decode([fork.target_token_id])!r} (id {fork.target_token_id})",
            f"    {output_is:<11}  {decode([fork.token_id])!r} (id {fork.token_id}), "
            f"{fork.margin:.4g} below in logits, then {after!r}",
            f"    {why}; between blocks of other widths it varies by {fork.spread:.2g}",
        ]
    if len(forks) > _SHOWN_FORKS:
        lines.append(f"  and {len(forks) - _SHOWN_FORKS} more")
    return "\n".join(lines)


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


def _verdict(forks: Sequence[Fork], tie_tolerance: float) -> Verdict:
    if not forks:
        return Verdict.IDENTICAL
    if all(_is_numerical(fork, tie_tolerance) for fork in forks):
        return Verdict.NUMERICAL
    return Verdict.ALGORITHMIC


def _is_numerical(fork: Fork, tie_tolerance: float) -> bool:
    return fork.margin <= tie_tolerance and fork.reproduced
