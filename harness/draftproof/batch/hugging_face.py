"""Any Hugging Face causal language model on a batch of rows, with tree attention and commit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int64
from transformers import PreTrainedModel

from draftproof.batch.drafts import ancestors
from draftproof.batch.models import Parents
from draftproof.errors import ModelError
from draftproof.models.attention import use_grouped_attention
from draftproof.models.calling import Calling, find_calling
from draftproof.models.families import context_length, explained, require_tree_scoring
from draftproof.models.slot_cache import Plan, SlotCache
from draftproof.transfer import sent
from draftproof.tree import ROOT, ancestor_mask, depths

_ROOM = 64
"""Slots that are added at a time."""


class HuggingFaceRows:
    """A `BatchLM` over a `transformers` model.

    Each row's nodes stand at the positions that their depths give, and attend to the row's
    committed tokens and to their own ancestors. The cache has a row of slots for each row:
    committed tokens first, in order, then what is pending.

    Args:
        model: In evaluation mode, on its device.
        vocabulary_size: Rows of logits are cut to this many ids; None keeps all.
        calling: How the model is called, where that has been found already.
        static: Whether all passes over so many rows and nodes have tensors of the same shapes, as
            CUDA graphs need: then every pass reads all slots of the cache, most of them masked,
            and shapes change only when the cache grows.

    Raises:
        ModelError: The architecture cannot score a tree; see `require_tree_scoring`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        vocabulary_size: int | None = None,
        calling: Calling | None = None,
        *,
        static: bool = False,
    ) -> None:
        config = model.config.get_text_config(decoder=True)
        require_tree_scoring(model)
        with explained(model):
            self._calling = calling or find_calling(model)
        self._needs_no_mask = use_grouped_attention(model) and not self._calling.window
        self._model = model
        self._device = model.device
        self._static = static
        self._takes_booleans = model.config._attn_implementation != "eager"
        self._sliding_window = self._calling.window
        self.vocabulary_size = min(vocabulary_size or config.vocab_size, config.vocab_size)
        self.max_length = context_length(model, self._calling.window)
        self._cache = SlotCache()
        self._lengths: list[int] = []
        self._pending = 0
        self._frame: tuple[int, ...] | None = ()
        self._ancestors: torch.Tensor | None = None
        self._depths: torch.Tensor | None = None

    @property
    def model(self) -> PreTrainedModel:
        """The model underneath."""
        return self._model

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def lengths(self) -> tuple[int, ...]:
        """``[B]`` committed tokens of each row."""
        return tuple(self._lengths)

    @torch.inference_mode()
    def start(
        self, rows: Sequence[int], prompts: Sequence[Sequence[int]]
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        most = max(len(prompt) for prompt in prompts)
        self._require_room(most)
        self._reserve(max(len(self._lengths), max(rows) + 1), most + _ROOM)
        logits = []
        for row, prompt in zip(rows, prompts, strict=True):
            self._cache.follow(Plan(row=row))
            ids = sent([list(prompt)], self.device)
            positions = torch.arange(len(prompt), device=self.device)[None]
            logits.append(self._forward(ids, positions, None, last_only=True)[0, -1])
            self._lengths[row : row + 1] = [len(prompt)]
        return torch.stack(logits)

    @torch.inference_mode()
    def score(
        self, token_ids: Int64[torch.Tensor, "B n"], parents: Parents
    ) -> Float[torch.Tensor, "B n vocabulary"]:
        n = token_ids.shape[1]
        self._grow(parents, len(token_ids))
        first, self._pending = self._pending, self._pending + n
        span = max(self._lengths) + self._pending
        self._reserve(len(self._lengths), span)
        if self._static:
            span = self._cache.shape[1]
        same = len(set(self._lengths)) == 1 and not self._static
        lengths = sent(self._lengths, self.device)[:, None]
        depth = self._depth_of_pending(n)
        positions = (lengths + depth - 1).clamp_max(self.max_length - 1)
        slots = (
            self._lengths[0] + first
            if same
            else lengths + first + torch.arange(n, device=self.device)
        )
        self._cache.follow(Plan(slots=slots, span=span))
        allowed = self._allowed(n, span, lengths, positions, same=same)
        return self._forward(token_ids, positions.expand(len(token_ids), n), allowed)

    @torch.inference_mode()
    def commit(self, paths: Sequence[Sequence[int]]) -> None:
        rows, source, destination = [], [], []
        for row, path in enumerate(paths):
            length = self._lengths[row]
            for offset, node in enumerate(path):
                if node != offset:
                    rows.append(row)
                    source.append(length + node)
                    destination.append(length + offset)
            self._lengths[row] = length + len(path)
        if rows:
            self._cache.move(rows, source, destination)
        self._drop_pending()

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        self._drop_pending()
        self._lengths = [self._lengths[row] for row in rows]
        self._cache.keep(rows)

    @torch.inference_mode()
    def _forward(
        self,
        token_ids: Int64[torch.Tensor, "B n"],
        positions: Int64[torch.Tensor, "B n"],
        mask: torch.Tensor | dict[str, torch.Tensor] | None,
        *,
        last_only: bool = False,
    ) -> Float[torch.Tensor, "B kept vocabulary"]:
        rows = 1 if last_only else token_ids.shape[1]
        logits, _ = self._calling.logits(self._model, token_ids, positions, mask, self._cache, rows)
        return logits[:, :, : self.vocabulary_size]

    def _reserve(self, rows: int, slots: int) -> None:
        """Make room in the cache."""
        has_rows, has_slots = self._cache.shape
        if rows > has_rows or slots > has_slots:
            capacity = has_slots if slots <= has_slots else max(slots + _ROOM, 2 * has_slots)
            self._cache.resize(max(rows, has_rows), capacity)

    def _drop_pending(self) -> None:
        self._pending = 0
        self._frame = ()
        self._ancestors = self._depths = None

    def _grow(self, parents: Parents, rows: int) -> None:
        """Add nodes to what is pending."""
        if isinstance(parents, tuple) and self._frame is not None:
            self._frame = (*self._frame, *parents)
            return
        own = sent(parents, self.device).expand(rows, -1) if isinstance(parents, tuple) else parents
        before = self._parents_so_far(rows)
        self._all_parents = torch.cat([before, own], 1)
        self._frame = None
        self._ancestors = ancestors(self._all_parents)
        self._depths = self._ancestors.sum(-1)

    def _parents_so_far(self, rows: int) -> Int64[torch.Tensor, "B pending"]:
        if self._frame is None:
            return self._all_parents
        frame = sent(self._frame, self.device, torch.int64)
        return frame.expand(rows, -1)

    def _depth_of_pending(self, n: int) -> Int64[torch.Tensor, "#B n"]:
        """Depths of the last `n` pending nodes; children of the last committed token have 1."""
        if self._frame is not None:
            return _frame_depths(self._frame, self.device)[:, -n:]
        if self._depths is None:
            raise AssertionError("nodes of rows' own have depths")
        return self._depths[:, -n:]

    def _tree(self, n: int) -> Bool[torch.Tensor, "#B n pending"]:
        """Which pending nodes the last `n` of them may attend to."""
        if self._frame is not None:
            return _frame_mask(self._frame, self.device)[:, -n:]
        if self._ancestors is None:
            raise AssertionError("nodes of rows' own have ancestors")
        return self._ancestors[:, -n:]

    @property
    def _is_chain(self) -> bool:
        """Whether every pending node is the child of the one before it."""
        return self._frame == tuple(range(ROOT, self._pending - 1))

    def _allowed(
        self,
        n: int,
        span: int,
        lengths: Int64[torch.Tensor, "B 1"],
        positions: Int64[torch.Tensor, "#B n"],
        *,
        same: bool,
    ) -> torch.Tensor | dict[str, torch.Tensor] | None:
        """Which of the first `span` slots each of the last `n` pending nodes may attend to.

        None where there is one that sees all of them: attention without a mask is faster.
        """
        if same and n == 1 and self._needs_no_mask and self._is_chain:
            return None
        tree = self._tree(n)
        if same:
            prefix = tree.new_ones((len(tree), n, span - self._pending))
            full = torch.cat([prefix, tree], -1)
        else:
            slots = torch.arange(span, device=self.device)
            full = (slots < lengths)[:, None].repeat(1, n, 1)
            where = lengths + torch.arange(self._pending, device=self.device)
            full.scatter_(
                2,
                where[:, None].expand(-1, n, -1),
                tree.expand(len(lengths), n, self._pending),
            )
        return self._calling.masks(
            self._mask(full),
            lambda: self._mask(full & self._in_window(span, lengths, positions)),
        )

    def _in_window(
        self, span: int, lengths: Int64[torch.Tensor, "B 1"], positions: Int64[torch.Tensor, "#B n"]
    ) -> Bool[torch.Tensor, "B n span"]:
        """Whether each slot lies less than a window before each of the last pending nodes."""
        batch = len(lengths)
        stands = torch.arange(span, device=self.device).repeat(batch, 1)
        where = lengths + torch.arange(self._pending, device=self.device)
        depth = self._depth_of_pending(self._pending).expand(batch, -1)
        stands = stands.scatter(1, where, lengths + depth - 1)
        return positions[..., None] - stands[:, None] < self._sliding_window

    def _mask(self, allowed: Bool[torch.Tensor, "#B n span"]) -> torch.Tensor:
        """The same as the model's attention takes it."""
        if self._takes_booleans:
            return allowed
        dtype = self._model.dtype
        mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
        return mask.masked_fill_(~allowed, torch.finfo(dtype).min)

    def _require_room(self, tokens: int) -> None:
        if tokens > self.max_length:
            raise ModelError(
                f"{tokens} tokens exceed the model's context of {self.max_length}; shorten the "
                "prompt or lower --spec-max-new-tokens"
            )


@lru_cache(maxsize=256)
def _frame_mask(frame: tuple[int, ...], device: torch.device) -> Bool[torch.Tensor, "1 n n"]:
    return torch.from_numpy(ancestor_mask(frame).copy()).to(device)[None]


@lru_cache(maxsize=256)
def _frame_depths(frame: tuple[int, ...], device: torch.device) -> Int64[torch.Tensor, "1 n"]:
    return sent([depths(frame)], device)
