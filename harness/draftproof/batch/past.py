"""What every row of a batch has seen so far, as penalties and minimal lengths look at it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int64

from draftproof.batch.laws import Before
from draftproof.transfer import sent


class Past:
    """The tokens of each row before its root's successors.

    Args:
        sequences: ``[B]`` prompt and output of each row, the root included.
        prompt_lengths: ``[B]`` how many of these are the prompt's.
        vocabulary_size: Of the models.
        device: Where they are looked at.
    """

    def __init__(
        self,
        sequences: Sequence[Sequence[int]],
        prompt_lengths: Sequence[int],
        vocabulary_size: int,
        device: torch.device,
    ) -> None:
        seen = torch.zeros(len(sequences), vocabulary_size, dtype=torch.bool)
        for row, sequence in enumerate(sequences):
            seen[row, list(sequence)] = True
        self._seen = seen.to(device, non_blocking=True)
        new = [len(s) - n for s, n in zip(sequences, prompt_lengths, strict=True)]
        self._new_tokens = sent(new, device)

    def before(
        self, token_ids: Int64[torch.Tensor, "B n"], parents: Int64[torch.Tensor, "B n"]
    ) -> Before:
        """What comes before the successors of the root (index 0) and of node ``i`` (``i + 1``)."""
        seen = [self._seen]
        new = [self._new_tokens]
        for place in range(token_ids.shape[1]):
            above = (parents[:, place] + 1)[:, None]
            so_far = torch.stack(seen, 1)
            index = above[..., None].expand(-1, 1, so_far.shape[-1])
            inherited = so_far.gather(1, index)[:, 0]
            seen.append(inherited.scatter(1, token_ids[:, place, None].clamp_min(0), True))
            new.append(torch.stack(new, 1).gather(1, above)[:, 0] + 1)
        return Before(torch.stack(seen, 1), torch.stack(new, 1))
