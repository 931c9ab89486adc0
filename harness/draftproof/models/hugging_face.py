"""Any Hugging Face causal language model, with tree attention and commit of a path."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from transformers import PreTrainedModel

from draftproof.errors import ModelError
from draftproof.models.calling import Calling, find_calling
from draftproof.models.families import context_length, explained, require_tree_scoring
from draftproof.models.features import KeptFeatures
from draftproof.models.protocol import check_path
from draftproof.models.tree_cache import TreeCache
from draftproof.tree import ancestor_mask, depths

_MASKS = 64
"""Tree masks that are kept: a drafter has few shapes."""


class HuggingFaceLM:
    """A `CausalLM` over a `transformers` model with a standard key-value cache.

    A tree of nodes is scored in one forward pass: each node stands at the position that its depth
    gives, and attends to the committed tokens and to its own ancestors.

    Args:
        model: In evaluation mode, on its device.
        vocabulary_size: Rows of logits are cut to this many ids; padding rows of the head that no
            token of the tokenizer has can then never be proposed or emitted. None keeps all.

    Raises:
        ModelError: The model cannot score a tree; see `require_tree_scoring` and `find_calling`.
    """

    def __init__(self, model: PreTrainedModel, vocabulary_size: int | None = None) -> None:
        config = model.config.get_text_config(decoder=True)
        self._model = model
        require_tree_scoring(model)
        with explained(model):
            self._calling = find_calling(model)
        self._sliding_window = self._calling.window
        self.vocabulary_size = min(vocabulary_size or config.vocab_size, config.vocab_size)
        self.max_length = context_length(model, self._calling.window)
        self._cache = TreeCache()
        self._length = 0
        self._pending: tuple[int, ...] = ()
        self._tree_masks: dict[tuple[int, ...], torch.Tensor] = {}
        self._features = KeptFeatures()

    @property
    def model(self) -> PreTrainedModel:
        """The model underneath."""
        return self._model

    @property
    def calling(self) -> Calling:
        """How the model is called, as was found by running it."""
        return self._calling

    @property
    def device(self) -> torch.device:
        return self._model.device

    @property
    def length(self) -> int:
        return self._length

    @property
    def cache_lengths(self) -> tuple[int, ...]:
        """Entries held by each layer's cache, pending nodes included."""
        return self._cache.lengths

    def reset(self) -> None:
        self._cache.reset()
        self._length = 0
        self._pending = ()
        self._features.reset()

    def watch(self, layers: Sequence[int]) -> None:
        self._features = KeptFeatures(layers)

    def take_features(self) -> Float[torch.Tensor, "tokens layers size"]:
        return self._features.take()

    def advance(self, token_ids: Sequence[int]) -> Float[torch.Tensor, " vocabulary"]:
        if self._pending:
            self.commit(())
        self._require_room(len(token_ids))
        positions = range(self._length, self._length + len(token_ids))
        logits = self._forward(token_ids, positions, None, rows=1)
        self._features.commit(range(len(token_ids)))
        self._length += len(token_ids)
        return logits[0]

    def score(
        self, token_ids: Sequence[int], parents: Sequence[int]
    ) -> Float[torch.Tensor, "nodes vocabulary"]:
        pending = (*self._pending, *parents)
        new = len(token_ids)
        node_depths = depths(pending)
        positions = [self._length + depth - 1 for depth in node_depths[-new:]]
        self._require_room(max(node_depths))
        logits = self._forward(token_ids, positions, self._attention_mask(pending, new), rows=new)
        self._pending = pending
        return logits

    @torch.inference_mode()
    def commit(self, path: Sequence[int]) -> None:
        check_path(path, self._pending)
        self._cache.keep(self._length, path)
        self._features.commit(path)
        self._length += len(path)
        self._pending = ()

    @torch.inference_mode()
    def recompute(
        self, token_ids: Sequence[int], first: int = 0
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        ids = torch.tensor([list(token_ids)], device=self.device)
        rows = len(token_ids) - first
        only = {"logits_to_keep": rows} if first and self._calling.keeps_rows else {}
        logits: torch.Tensor = self._model(input_ids=ids, use_cache=False, **only).logits
        return logits[0, -rows:, : self.vocabulary_size]

    @torch.inference_mode()
    def _forward(
        self,
        token_ids: Sequence[int],
        positions: Sequence[int],
        attention_mask: torch.Tensor | dict[str, torch.Tensor] | None,
        *,
        rows: int,
    ) -> torch.Tensor:
        """The logits ``[rows, vocabulary]`` of new tokens; appends their cache entries."""
        logits, hidden = self._calling.logits(
            self._model,
            torch.tensor([list(token_ids)], device=self.device),
            torch.tensor([list(positions)], device=self.device),
            attention_mask,
            self._cache,
            rows,
            self._features.layers,
        )
        if hidden:
            self._features.add(torch.stack([states[0] for states in hidden], 1))
        return logits[0, :, : self.vocabulary_size]

    def _attention_mask(
        self, pending: tuple[int, ...], new: int
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """Additive masks ``[1, 1, new, length + pending]`` for the last `new` pending nodes."""
        tree = self._tree_mask(pending)[-new:]
        prefix = tree.new_zeros((new, self._length))
        full = torch.cat([prefix, tree], dim=-1)
        return self._calling.masks(full[None], lambda: self._windowed(full, pending, new)[None])

    def _tree_mask(self, pending: tuple[int, ...]) -> torch.Tensor:
        if pending not in self._tree_masks:
            if len(self._tree_masks) == _MASKS:
                self._tree_masks.clear()
            self._tree_masks[pending] = self._build_tree_mask(pending)
        return self._tree_masks[pending]

    def _build_tree_mask(self, pending: tuple[int, ...]) -> torch.Tensor:
        allowed = torch.from_numpy(ancestor_mask(pending).copy()).to(self.device)
        mask = torch.zeros(allowed.shape, dtype=self._model.dtype, device=self.device)
        return mask.masked_fill_(~allowed, torch.finfo(self._model.dtype).min)

    def _windowed(self, mask: torch.Tensor, pending: tuple[int, ...], new: int) -> torch.Tensor:
        """The mask with every key removed that lies a whole window or more before its query."""
        node_positions = self._length - 1 + torch.tensor(depths(pending), device=self.device)
        keys = torch.cat([torch.arange(self._length, device=self.device), node_positions])
        distance = node_positions[-new:, None] - keys[None, :]
        return mask.masked_fill(distance >= self._sliding_window, torch.finfo(mask.dtype).min)

    def _require_room(self, new: int) -> None:
        if self._length + new > self.max_length:
            raise ModelError(
                f"{self._length} committed tokens and {new} more exceed the model's context of "
                f"{self.max_length}; shorten the prompt or lower --spec-max-new-tokens"
            )
