"""From logits to what tokens are drawn from, for rows that have settings of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64

from draftproof.sampling import TokenLaw, promoted
from draftproof.transfer import sent


class Before(NamedTuple):
    """What came before each of some places of a batch.

    Attributes:
        seen: ``[B, n, vocabulary]`` whether a token occurs in the prompt or the output so far.
        new_tokens: ``[B, n]`` tokens after the prompt.
    """

    seen: Bool[torch.Tensor, "B n vocabulary"]
    new_tokens: Int64[torch.Tensor, "B n"]


class BatchLaw:
    """What the next token is drawn from, for a batch of rows.

    Each row has its own `TokenLaw`, and gets the distribution that this would give it alone: other
    rows change nothing.

    Args:
        laws: ``[B]`` each row's.
        device: Where logits are.

    Attributes:
        laws: The same.
        looks_back: Whether a row's distributions depend on its earlier tokens, beyond the logits.
        is_greedy: Whether all rows are at temperature 0, so that distributions leave no choice.
    """

    def __init__(self, laws: Sequence[TokenLaw], device: torch.device) -> None:
        self.laws = tuple(laws)
        self._device = device
        samplings = [law.sampling for law in laws]
        self.looks_back = any(s.repetition_penalty != 1 or s.min_new_tokens for s in samplings)
        self._greedy = sent([s.greedy for s in samplings], device)[:, None, None]
        self._has_greedy = any(s.greedy for s in samplings)
        self.is_greedy = all(s.greedy for s in samplings)
        self._settings = {
            "penalty": [s.repetition_penalty for s in samplings],
            "least": [float(s.min_new_tokens) for s in samplings],
            "temperature": [s.temperature or 1.0 for s in samplings],
            "top_k": [float(s.top_k) for s in samplings],
            "beyond_top_p": [1 - s.top_p for s in samplings],
            "min_p": [s.min_p for s in samplings],
        }
        self._columns: dict[tuple[str, torch.dtype], torch.Tensor] = {}

    def distributions(
        self, logits: Float[torch.Tensor, "B n vocabulary"], before: Callable[[], Before]
    ) -> Float[torch.Tensor, "B n vocabulary"]:
        """The distribution that the next token is drawn from, at each of some places of each row.

        Args:
            logits: Of any floating dtype.
            before: Asked only where `looks_back`.

        Returns:
            Float64 for float64 logits, else float32. What no probability can be made of is NaN.
        """
        logits = self.penalised(logits, before)
        if self.is_greedy:
            return one_hot(logits)
        probabilities = torch.softmax(self._filtered(logits), -1)
        if not self._has_greedy:
            return probabilities
        return torch.where(self._greedy, one_hot(logits), probabilities)

    def measured(
        self,
        logits: Float[torch.Tensor, "B n vocabulary"],
        drawn_from: Float[torch.Tensor, "B n vocabulary"],
    ) -> Float[torch.Tensor, "B n vocabulary"]:
        """The distributions in which a model's sureness is stated, at each of some places.

        Args:
            logits: Of the model.
            drawn_from: `distributions` of them: what is stated above temperature 0. A greedy row's
                is one-hot, and the unscaled softmax is stated in its place.
        """
        if not self._has_greedy:
            return drawn_from
        plain = torch.softmax(promoted(logits), -1)
        return torch.where(self._greedy, plain, drawn_from) if not self.is_greedy else plain

    def penalised(
        self, logits: Float[torch.Tensor, "B n vocabulary"], before: Callable[[], Before]
    ) -> Float[torch.Tensor, "B n vocabulary"]:
        """The logits after what looks at the tokens so far; their argmax is the greedy choice."""
        logits = promoted(logits)
        if not self.looks_back:
            return logits
        past = before()
        if self._asked("penalty", 1):
            penalty = self._column("penalty", logits)
            weakened = torch.where(logits < 0, logits * penalty, logits / penalty)
            logits = torch.where(past.seen, weakened, logits)
        if self._asked("least", 0):
            too_short = past.new_tokens[..., None] < self._column("least", logits)
            logits = logits.masked_fill(too_short & self._stop_tokens(logits), -torch.inf)
        return logits

    def _asked(self, name: str, unused: float) -> bool:
        """Whether any row has a setting that is not the one that changes nothing."""
        return any(value != unused for value in self._settings[name])

    def _column(self, name: str, logits: torch.Tensor) -> torch.Tensor:
        """A setting of every row ``[B, 1, 1]``, in the type of the logits."""
        key = name, logits.dtype
        if key not in self._columns:
            values = sent(self._settings[name], self._device, logits.dtype)
            self._columns[key] = values[:, None, None]
        return self._columns[key]

    def _stop_tokens(self, logits: torch.Tensor) -> torch.Tensor:
        """``[B, 1, vocabulary]`` each row's stop tokens."""
        mask = torch.zeros(len(logits), 1, logits.shape[-1], dtype=torch.bool)
        for row, law in enumerate(self.laws):
            mask[row, :, [token for token in law.stop_token_ids if token < mask.shape[-1]]] = True
        return mask.to(self._device, non_blocking=True)

    def _filtered(self, logits: torch.Tensor) -> torch.Tensor:
        """Temperature, top-k, top-p and min-p, in the order in which transformers applies them."""
        if self._asked("temperature", 1):
            logits = logits / self._column("temperature", logits)
        if self._asked("top_k", 0):
            most = min(int(max(self._settings["top_k"])), logits.shape[-1])
            top_k = self._column("top_k", logits)
            largest = logits.topk(most, dim=-1).values
            place = (top_k.clamp(1, most) - 1).long().expand(*largest.shape[:-1], 1)
            removed = (logits < largest.gather(-1, place)) & (top_k > 0)
            logits = logits.masked_fill(removed, -torch.inf)
        if self._asked("beyond_top_p", 0):
            beyond = self._column("beyond_top_p", logits)
            ordered, order = torch.sort(logits, descending=False)
            removed = (torch.softmax(ordered, -1).cumsum(-1) <= beyond) & (beyond > 0)
            removed[..., -1] = False
            logits = logits.masked_fill(removed.scatter(-1, order, removed), -torch.inf)
        if self._asked("min_p", 0):
            probabilities = torch.softmax(logits, -1)
            least = self._column("min_p", logits) * probabilities.amax(-1, keepdim=True)
            logits = logits.masked_fill(probabilities < least, -torch.inf)
        return logits


def one_hot(logits: Float[torch.Tensor, "*rows vocabulary"]) -> torch.Tensor:
    """Rows that are 1 at their argmax, the first one where several are equal; NaN of a NaN row."""
    best, index = logits.max(-1, keepdim=True)
    value = torch.where(torch.isfinite(best), 1.0, torch.nan).to(logits.dtype)
    return torch.zeros_like(logits).scatter_(-1, index, value)
