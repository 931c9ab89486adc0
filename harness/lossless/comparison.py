"""Where a speculative output parts from the target's own, and what the target thinks there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.decoding import Output
from harness.models.protocol import CausalLM
from harness.sampling import promoted

_NEAR_TIE = {"float64": 1e-9, "float32": 1e-3, "float16": 5e-2, "bfloat16": 2.5e-1}
"""Gaps of logits that are put down to rounding, in a hint; the verdict does not depend on it."""

_SHOWN_TOKENS = 16
"""Tokens of text shown before and after the point where two outputs part."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place at which two outputs differ.

    Attributes:
        index: Index in the output; its length where one output is a prefix of the other.
        plain_token: The target's own token there, None where its output has ended.
        speculative_token: The speculative one, None where that output has ended.
    """

    index: int
    plain_token: int | None
    speculative_token: int | None


def first_difference(plain: Output, speculative: Output) -> Difference | None:
    """The first place at which two outputs differ, or None for equal ones.

    Outputs of different lengths differ, and so do equal tokens that ended for different reasons.
    """
    if plain == speculative:
        return None
    ours, theirs = plain.token_ids, speculative.token_ids
    shorter = min(len(ours), len(theirs))
    index = next((i for i in range(shorter) if ours[i] != theirs[i]), shorter)
    return Difference(
        index,
        ours[index] if index < len(ours) else None,
        theirs[index] if index < len(theirs) else None,
    )


def explain(
    difference: Difference,
    plain: Output,
    speculative: Output,
    *,
    prompt: Sequence[int],
    target: CausalLM,
    decode: Callable[[Sequence[int]], str],
) -> str:
    """A message on where two outputs part: the text around it, both tokens and their logits.

    Args:
        difference: From `first_difference`.
        plain: The target's own output.
        speculative: The output of speculation.
        prompt: Token ids of the prompt.
        target: Scores the common prefix once more, from scratch.
        decode: From token ids to text.
    """
    index = difference.index
    common = plain.token_ids[:index]
    logits = promoted(target.recompute([*prompt, *common])[-1])
    best = int(logits.argmax())
    lines = [
        f"speculative output parts from the target's own at token {index} "
        f"of {len(plain.token_ids)}",
        f"  text so far  {decode(common[-_SHOWN_TOKENS:])!r}",
    ]
    for label, token, output in (
        ("plain", difference.plain_token, plain),
        ("speculative", difference.speculative_token, speculative),
    ):
        if token is None:
            lines.append(f"  {label:<12} ended here ({output.stop_reason})")
            continue
        following = decode(output.token_ids[index + 1 : index + 1 + _SHOWN_TOKENS])
        lines.append(
            f"  {label:<12} {decode([token])!r} (id {token}, logit {float(logits[token]):.4f}), "
            f"then {following!r}"
        )
    lines.append(
        f"  recomputed from scratch, the target's argmax here is {decode([best])!r} "
        f"(id {best}, logit {float(logits[best]):.4f})"
    )
    if difference.plain_token is not None and difference.speculative_token is not None:
        gap = abs(float(logits[difference.plain_token] - logits[difference.speculative_token]))
        dtype = target_dtype(target)
        if gap <= _NEAR_TIE.get(dtype, 0.0):
            lines.append(
                f"  the two logits are {gap:.4f} apart, which rounding in {dtype} can flip when a "
                "token is scored in a block of another width; try --spec-dtype float32"
            )
        else:
            lines.append(f"  the two logits are {gap:.4f} apart: too far for rounding in {dtype}")
    return "\n".join(lines)


def target_dtype(target: CausalLM) -> str:
    """The name of the type that a model computes in, as far as it tells."""
    model = getattr(target, "model", None)
    return str(getattr(model, "dtype", "its arithmetic")).removeprefix("torch.")
