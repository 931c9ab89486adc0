"""How a model is called, found by running it: its cache, its rows of logits, and its masks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from jaxtyping import Float, Shaped
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache

from draftproof.errors import ModelError
from draftproof.models.checked import deviation, tolerance
from draftproof.models.tree_cache import TreeCache

_CACHE_ARGUMENTS = ("cache", "past_key_values")
"""What a forward pass calls its cache: `transformers` from 5.24 on, and before.

Many a model takes any name and drops those that it does not know, so that only what ends up in the
cache tells which one it listens to."""
TRIES = 3
"""Rounding may tip a mixture of experts over; what comes back with other tokens is a fault."""
_BLOCK = 8
"""Tokens that are tried."""
_SHORT = 2
"""A sliding window, far shorter than that."""


class MaskForm(StrEnum):
    """Which masks a model takes for its layers."""

    FULL = "full"
    """One, in which a token sees all that come before it."""
    WINDOWED = "windowed"
    """One, in which it sees those of a sliding window."""
    BY_LAYER_TYPE = "by layer type"
    """One of each kind, by the names that `transformers` gives the kinds of layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calling:
    """How a forward pass is asked for.

    Attributes:
        cache_argument: What it calls its cache.
        keeps_rows: Whether it can be told to compute the last rows of logits alone.
        mask_form: Which masks it takes.
        window: Tokens that a sliding window holds; 0 where no layer has one.
    """

    cache_argument: str
    keeps_rows: bool
    mask_form: MaskForm
    window: int

    def logits(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_mask: torch.Tensor | dict[str, torch.Tensor] | None,
        cache: Cache,
        rows: int,
        layers: Sequence[int] = (),
    ) -> tuple[Float[torch.Tensor, "batch rows vocabulary"], list[torch.Tensor]]:
        """The logits after the last `rows` of some new tokens, and hidden states of all of them.

        Mutates: `cache`, which holds the new tokens' entries too.

        Args:
            model: What is called.
            input_ids: ``[batch, new]``.
            position_ids: ``[batch, new]``.
            attention_mask: In the model's form; None where every token sees all before it.
            cache: What was computed before.
            rows: At most ``new``.
            layers: Whose hidden states are returned, each ``[batch, new, size]``; see `FeatureLM`.

        Raises:
            ModelError: The model returns fewer rows than tokens asked for.
        """
        only: dict[str, Any] = {"logits_to_keep": rows} if self.keeps_rows else {}
        if layers:
            only["output_hidden_states"] = True
        output = model(
            input_ids=input_ids,
            position_ids=position_ids,
            attention_mask=attention_mask,
            use_cache=True,
            **{self.cache_argument: cache},
            **only,
        )
        logits: torch.Tensor = output.logits
        if logits.shape[1] < rows:
            raise ModelError(
                f"{type(model).__name__} returns {logits.shape[1]} rows of logits where {rows} "
                "were asked for"
            )
        # A model that does not know how many rows are asked for returns one for each token.
        hidden = [output.hidden_states[layer] for layer in layers]
        return logits[:, -rows:], hidden

    def masks(
        self,
        full: Shaped[torch.Tensor, "batch new keys"],
        windowed: Callable[[], Shaped[torch.Tensor, "batch new keys"]],
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """Masks ``[batch, 1, new, keys]`` in the model's form, boolean or additive.

        Args:
            full: With all that a token may see.
            windowed: Makes the mask of a layer with a sliding window.
        """
        return _in_form(self.mask_form, full, windowed)


@torch.inference_mode()
def find_calling(model: PreTrainedModel) -> Calling:
    """How a model is called: what it does with a few tokens decides, and no name in its signature.

    Args:
        model: In evaluation mode, on its device.

    Raises:
        ModelError: It does not run, keeps no cache, looks ahead, or takes no positions or no mask
            that gives what the model computes by itself. The message goes on from its name.
    """
    argument = _cache_argument(model)
    _require_causal(model, argument)
    keeps_rows = _keeps_rows(model, argument)
    form, window = _mask_form(model, argument)
    return Calling(cache_argument=argument, keeps_rows=keeps_rows, mask_form=form, window=window)


def first_line(error: Exception) -> str:
    """What an error says, in a line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _cache_argument(model: PreTrainedModel) -> str:
    try:
        _own_rows(model, _block(model, 0))
    except Exception as error:
        raise ModelError(f"does not run: {first_line(error)}") from error
    placed = _filled_by(model, **_positions(model))
    if placed is not None:
        return placed
    if _filled_by(model) is not None:
        raise ModelError("takes no position ids, so the branches of a tree cannot be placed")
    raise ModelError("keeps no key-value cache that could be rolled back")


def _filled_by(model: PreTrainedModel, **arguments: Any) -> str | None:
    """The name by which a model takes a cache and fills it; None if there is none."""
    for name in _CACHE_ARGUMENTS:
        cache = TreeCache()
        # A name, or a cache, that a model does not take shows in many ways.
        with contextlib.suppress(Exception):
            model(**_tokens(model, _block(model, 0)), **arguments, use_cache=True, **{name: cache})
            if set(cache.lengths) == {_BLOCK}:
                return name
    return None


def _keeps_rows(model: PreTrainedModel, argument: str) -> bool:
    """Whether the last rows of logits that a model is asked for are all that it computes.

    That they are the last ones is seen with other tokens too, before it is believed of none.
    """
    return any(
        all(_kept(model, argument, rows, _block(model, first)) for rows in (1, _BLOCK // 2))
        for first in range(TRIES)
    )


def _kept(model: PreTrainedModel, argument: str, rows: int, token_ids: Sequence[int]) -> bool:
    given = {**_tokens(model, token_ids), **_positions(model), "logits_to_keep": rows}
    # That a model takes no such argument shows in many ways.
    with contextlib.suppress(Exception):
        expected = _own_rows(model, token_ids)[-rows:]
        for cache in ({"use_cache": True, argument: TreeCache()}, {"use_cache": False}):
            found = model(**given, **cache).logits[0]
            if len(found) != rows or _distance(found, expected) > tolerance(expected.dtype):
                return False
        return True
    return False


def _mask_form(model: PreTrainedModel, argument: str) -> tuple[MaskForm, int]:
    """The form of masks with which a model computes what it computes by itself.

    A sliding window that its configuration states is made shorter than the tokens that are tried:
    an architecture that reads it shows so, and one that does not read it, too.
    """
    config = model.config.get_text_config(decoder=True)
    stated = getattr(config, "sliding_window", None) or 0
    best, nearest = MaskForm.FULL, torch.inf
    for first in range(TRIES):
        if not stated:
            _with_causal_mask(model, argument, _block(model, first))
            return best, 0
        with _changed(config, "sliding_window", _SHORT):
            own = _own_rows(model, _block(model, first))
            rows = _with_causal_mask(model, argument, _block(model, first))
            found = {MaskForm.FULL: _distance(rows, own)}
            for form in (MaskForm.WINDOWED, MaskForm.BY_LAYER_TYPE):
                # That a model does not take a form shows in many ways.
                with contextlib.suppress(Exception):
                    rows = _with_mask(model, argument, form, _block(model, first))
                    found[form] = _distance(rows, own)
        best = min(found, key=lambda form: found[form])
        nearest = min(nearest, found[best])
        if nearest <= tolerance(own.dtype):
            return best, 0 if best is MaskForm.FULL else stated
    raise ModelError(
        f"has sliding windows, of {stated} tokens by its configuration, for which no mask of a "
        f"tree is known: logits differ from its own by {nearest:.3g} standard deviations"
    )


def _with_causal_mask(
    model: PreTrainedModel, argument: str, token_ids: Sequence[int]
) -> torch.Tensor:
    """The logits with a mask in which a token sees all that come before it.

    Raises:
        ModelError: The model does not take one.
    """
    try:
        return _with_mask(model, argument, MaskForm.FULL, token_ids)
    except Exception as error:
        raise ModelError(
            "takes no attention mask, so the branches of a tree see each other "
            f"({first_line(error)})"
        ) from error


def _with_mask(
    model: PreTrainedModel, argument: str, form: MaskForm, token_ids: Sequence[int]
) -> torch.Tensor:
    """The logits with a mask of a form; any exception where the model does not take it."""
    places = torch.arange(_BLOCK, device=model.device)
    distance = places[:, None] - places[None, :]
    least = torch.finfo(model.dtype).min
    full = torch.zeros(distance.shape, dtype=model.dtype, device=model.device)
    full = full.masked_fill(distance < 0, least)
    masks = _in_form(form, full[None], lambda: full.masked_fill(distance >= _SHORT, least)[None])
    logits: torch.Tensor = model(
        **_tokens(model, token_ids),
        **_positions(model),
        attention_mask=masks,
        use_cache=True,
        **{argument: TreeCache()},
    ).logits[0]
    return logits


def _require_causal(model: PreTrainedModel, argument: str) -> None:
    """Refuse a model in which a token changes the logits after tokens that come before it.

    In a causal one they stay the same to the last bit, unless rows are computed together, as in a
    mixture of experts: then they move under a causal mask, too, and up to rounding that is allowed.
    """
    farthest = torch.inf
    for first in range(TRIES):
        block = _block(model, first)
        other = [*block[:-1], (block[-1] + 1) % _vocabulary(model)]
        before, after, again = (_own_rows(model, ids)[:-1] for ids in (block, other, block))
        moved = _distance(after, before)
        is_exact = torch.equal(before, again) and torch.equal(
            *(_with_causal_mask(model, argument, ids)[:-1] for ids in (block, other))
        )
        if moved <= (0 if is_exact else tolerance(before.dtype)):
            return
        farthest = min(farthest, moved)
    raise ModelError(
        "attends in both directions: another last token of "
        f"{_BLOCK} moves the logits after earlier ones by {farthest:.3g} standard deviations, so "
        "no token can be verified before the next ones are known"
    )


def _distance(rows: torch.Tensor, expected: torch.Tensor) -> float:
    return max(deviation(row, wanted) for row, wanted in zip(rows, expected, strict=True))


def _in_form(
    form: MaskForm, full: torch.Tensor, windowed: Callable[[], torch.Tensor]
) -> torch.Tensor | dict[str, torch.Tensor]:
    if form is MaskForm.FULL:
        return full[:, None]
    if form is MaskForm.WINDOWED:
        return windowed()[:, None]
    return {"full_attention": full[:, None], "sliding_attention": windowed()[:, None]}


@contextlib.contextmanager
def _changed(config: PreTrainedConfig, name: str, value: int) -> Iterator[None]:
    """Another value in a configuration, for as long as it takes."""
    before = getattr(config, name)
    try:
        setattr(config, name, value)
        yield
    finally:
        setattr(config, name, before)


def _own_rows(model: PreTrainedModel, token_ids: Sequence[int]) -> torch.Tensor:
    """The logits after each token, as the model computes them with masks of its own."""
    logits: torch.Tensor = model(**_tokens(model, token_ids), use_cache=False).logits[0]
    return logits


def _vocabulary(model: PreTrainedModel) -> int:
    size: int = model.config.get_text_config(decoder=True).vocab_size
    return size


def _block(model: PreTrainedModel, first: int) -> list[int]:
    return [(first + place) % _vocabulary(model) for place in range(_BLOCK)]


def _tokens(model: PreTrainedModel, token_ids: Sequence[int]) -> dict[str, Any]:
    return {"input_ids": torch.tensor([list(token_ids)], device=model.device)}


def _positions(model: PreTrainedModel) -> dict[str, Any]:
    return {"position_ids": torch.arange(_BLOCK, device=model.device)[None]}
