"""What is observed at one emitted token: the laws that could have produced it, and how it came."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Float

from draftproof.errors import NumericsError, UsageError

Law = Float[np.ndarray, " vocabulary"]
"""A probability distribution over tokens."""

Tokens = Bool[np.ndarray, " vocabulary"]
"""Which tokens something is true of."""

_SUM_TOLERANCE = 1e-3


class Site(StrEnum):
    """How a token was emitted, as far as the engine tells."""

    FIRST = "first"
    """The first token after the prompt: prefill, no draft."""
    ACCEPTED = "accepted"
    """A drafted token that was kept."""
    CORRECTION = "correction"
    """The extra token after a rejection."""
    BONUS = "bonus"
    """The extra token after a fully kept path, or where nothing had been drafted."""
    UNKNOWN = "unknown"
    """The engine does not tell; tokens of plain decoding too."""


class Stream(StrEnum):
    """A process of its own: where a token is decided, which is known before it is.

    Accepted and correction tokens share a stream, because which of the two it will be is part of
    the outcome.
    """

    FIRST = "first"
    """First tokens."""
    DRAFTED = "drafted"
    """Drafted positions that were reached, with the outcome (kept?, token); where its law is not
    known, with the token alone."""
    DRAFTED_TOKEN = "drafted token"
    """The same positions, with the token alone."""
    BONUS = "bonus"
    """Bonus tokens."""
    UNKNOWN = "unknown"
    """Tokens of which the engine does not tell how they came."""


STREAMS = tuple(Stream)
"""Every stream, in the order in which arrays hold them."""

STREAMS_OF: dict[Site, tuple[Stream, ...]] = {
    Site.FIRST: (Stream.FIRST,),
    Site.ACCEPTED: (Stream.DRAFTED, Stream.DRAFTED_TOKEN),
    Site.CORRECTION: (Stream.DRAFTED, Stream.DRAFTED_TOKEN),
    Site.BONUS: (Stream.BONUS,),
    Site.UNKNOWN: (Stream.UNKNOWN,),
}
"""The streams that a token counts in."""


class DeclaredRule(StrEnum):
    """What an engine is said to do at a drafted position: it fixes the law of (kept?, token).

    The token alone follows p under every lossless rule. How often drafted tokens are kept does not:
    a lossless engine judged by the joint law of another rule would be rejected. So the joint law is
    used only where the rule is declared.
    """

    REJECTION = "rejection"
    """A token drawn from q is kept with probability min(1, p/q), else one is drawn from
    norm(max(p − q, 0)): kept and y has probability min(p, q)(y), rejected and y (p − min(p, q))(y).
    """
    POINT_MASS = "point mass"
    """The drafted tokens are known (`Observation.proposals`) and kept with their probability under
    p in total: given them the token follows p, and it was kept exactly if it is one of them. Right
    for deterministic drafts, and for sampled ones that are kept if the target draws the same."""
    MATCH = "match"
    """The target draws from p; a token drawn from q is kept if it is the same, or, what comes to
    the same law, is kept with probability p and else replaced by a draw from p without it. Kept and
    y has probability p(y) q(y), rejected and y p(y) (1 − q(y))."""
    OTHER = "other"
    """Any lossless rule (block and traversal verification, trees of siblings, unknown ones): tokens
    alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterEdge:
    """What rounding may change about which tokens pass the filters.

    Attributes:
        contested: ``[vocabulary]`` tokens that pass under some laws within the tolerance of the
            scored one and not under others. The others pass always, or never.
        least: The least mass that passes, as a share of the mass that passes under the scored law.
        most: The same of the largest; ``least <= 1 <= most``.
    """

    contested: Tokens
    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One emitted token with the laws at its own prefix.

    Everything but `token`, and whether `site` is accepted or correction, must be a function of what
    came before the token.

    Attributes:
        target: ``[vocabulary]`` p, after every processor of the run.
        token: The emitted token. An id outside the vocabulary has probability 0.
        site: How it was emitted.
        draft: ``[vocabulary]`` q, the law that a token drafted here is drawn from, after every
            processor; None where it is not known.
        proposals: The tokens drafted here, under `DeclaredRule.POINT_MASS`.
        unfiltered_target: ``[vocabulary]`` p before the filters (top-k, top-p, min-p), after
            penalties and temperature; None where there is no filter.
        raw_target: ``[vocabulary]`` softmax of the target's logits, nothing applied; None where p
            is that.
        raw_draft: ``[vocabulary]`` softmax of the draft model's logits; None where q is that.
        previous_target: ``[vocabulary]`` p one position earlier; None at the first token.
        target_edge: What rounding may change about which tokens pass p's filters; None where
            there are none.
        draft_edge: The same of q's filters.
        coin: The smallest min(1, p/q) among the tokens kept earlier in this step; 1 at its start.
            What a coin that is tossed once for the whole step is known to lie below.
    """

    target: Law
    token: int
    site: Site = Site.UNKNOWN
    draft: Law | None = None
    proposals: tuple[int, ...] | None = None
    unfiltered_target: Law | None = None
    raw_target: Law | None = None
    raw_draft: Law | None = None
    previous_target: Law | None = None
    target_edge: FilterEdge | None = None
    draft_edge: FilterEdge | None = None
    coin: float = 1.0

    @property
    def is_drafted(self) -> bool:
        """Whether the token stands at a drafted position, and the engine tells if it was kept."""
        return self.site in (Site.ACCEPTED, Site.CORRECTION)

    @property
    def laws(self) -> dict[str, Law]:
        """The laws that are known, by name."""
        named = {
            "target": self.target,
            "draft": self.draft,
            "unfiltered_target": self.unfiltered_target,
            "raw_target": self.raw_target,
            "raw_draft": self.raw_draft,
            "previous_target": self.previous_target,
        }
        return {name: law for name, law in named.items() if law is not None}

    def check(self) -> None:
        """Refuse laws that are none.

        Raises:
            NumericsError: A law has a negative or NaN entry, or does not add up to 1.
            UsageError: Laws or edges differ in length, a proposal is no token, or the coin is no
                probability above 0.
        """
        for name, law in self.laws.items():
            if law.shape != self.target.shape or law.ndim != 1:
                raise UsageError(
                    f"the law '{name}' has shape {law.shape} and the target's {self.target.shape}; "
                    "pad the smaller vocabulary with probability 0"
                )
            total = float(law.sum(dtype=np.float64))
            if not (abs(total - 1) <= _SUM_TOLERANCE and float(law.min()) >= 0):
                raise NumericsError(
                    f"the law '{name}' adds up to {total:g} with smallest entry "
                    f"{float(law.min()):g}; it must be a probability distribution"
                )
        for edge in (self.target_edge, self.draft_edge):
            if edge is not None and edge.contested.shape != self.target.shape:
                raise UsageError(
                    f"the edge of a filter has shape {edge.contested.shape} and the target's law "
                    f"{self.target.shape}; they must be equal"
                )
        if any(not 0 <= token < len(self.target) for token in self.proposals or ()):
            raise UsageError(
                f"proposals {self.proposals} are not all ids of a vocabulary of {len(self.target)}"
            )
        if not 0 < self.coin <= 1:
            raise UsageError(f"coin is {self.coin}; it is a probability above 0")
