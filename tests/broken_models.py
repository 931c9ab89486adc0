"""Hugging Face models whose cache, positions or mask is wrong, each in one way."""

import torch

from draftproof.models.hugging_face import HuggingFaceLM


class PositionByIndex(HuggingFaceLM):
    """Positions advance by node, not by depth."""

    def _forward(self, token_ids, positions, attention_mask, **arguments):
        first = min(positions)
        positions = range(first, first + len(token_ids))
        return super()._forward(token_ids, positions, attention_mask, **arguments)


class FullyCausalTree(HuggingFaceLM):
    """Nodes attend to all nodes before them, siblings too."""

    def _build_tree_mask(self, pending):
        return super()._build_tree_mask(tuple(range(-1, len(pending) - 1)))


class LosesGrandparents(HuggingFaceLM):
    """Nodes attend to themselves and their parent only."""

    def _build_tree_mask(self, pending):
        mask = super()._build_tree_mask(pending)
        for node, parent in enumerate(pending):
            for ancestor in range(len(pending)):
                if ancestor not in (node, parent):
                    mask[node, ancestor] = torch.finfo(mask.dtype).min
        return mask


class KeepsFirstSlots(HuggingFaceLM):
    """A committed path keeps the first slots of the tree."""

    def commit(self, path):
        self._cache.keep(self._length, range(len(path)))
        self._length += len(path)
        self._pending = ()


class KeepsOneTooMany(HuggingFaceLM):
    """A rejected entry stays in the cache."""

    def commit(self, path):
        pending = len(self._pending)
        super().commit(path)
        if len(path) < pending:
            for layer in self._cache.layers:
                layer.length += 1


class DropsOneEntry(HuggingFaceLM):
    """A needed entry is dropped from the cache."""

    def commit(self, path):
        super().commit(path)
        if path:
            for layer in self._cache.layers:
                layer.length -= 1


class ZeroesWhatItDrops(HuggingFaceLM):
    """Rejected entries are zeroed but still attended to."""

    def commit(self, path):
        pending = len(self._pending)
        super().commit(path)
        for layer in self._cache.layers:
            layer.keys[..., self._length : self._length + pending, :] = 0
            layer.values[..., self._length : self._length + pending, :] = 0
            layer.length = self._length + pending


class WindowOneTooWide(HuggingFaceLM):
    """A sliding window holds one token more than the model's."""

    def __init__(self, model):
        super().__init__(model)
        self._sliding_window += 1


class WindowByIndex(HuggingFaceLM):
    """A sliding window counts entries of the cache, not positions."""

    def _windowed(self, mask, pending, new):
        first = mask.shape[-1] - new
        distance = torch.arange(first, first + new)[:, None] - torch.arange(mask.shape[-1])
        return mask.masked_fill(distance >= self._sliding_window, torch.finfo(mask.dtype).min)


class OneMaskForAll(HuggingFaceLM):
    """Layers with a window attend to everything, as those without one do."""

    def _windowed(self, mask, pending, new):
        return mask


WRONG_ANYWHERE = (
    PositionByIndex,
    FullyCausalTree,
    LosesGrandparents,
    KeepsFirstSlots,
    KeepsOneTooMany,
    DropsOneEntry,
    ZeroesWhatItDrops,
)
WRONG_WITH_WINDOWS = (WindowOneTooWide, WindowByIndex, OneMaskForAll)


class FirstRowForTheLast(HuggingFaceLM):
    """A forward pass that ignores ``logits_to_keep``: the prompt's first row is taken for its last.

    Prefill alone is wrong, and is so in plain and in speculative decoding.
    """

    def advance(self, token_ids):
        last = super().advance(token_ids)
        return self.recompute(token_ids)[0] if len(token_ids) > 1 else last


class PositionsAfterAGap(HuggingFaceLM):
    """After prefill positions go on some places too late, in every way of decoding."""

    def _forward(self, token_ids, positions, attention_mask, **arguments):
        positions = [position + (100 if self.length else 0) for position in positions]
        return super()._forward(token_ids, positions, attention_mask, **arguments)
