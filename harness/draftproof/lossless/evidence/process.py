"""Likelihood ratios of every alternative, token by token, as sums that can be stored and added.

Let F be what is known before a token, n its null law given F and a an alternative's law. Then
a(O)/n(O) has conditional mean Σ a(o) over n(o) > 0, which is at most 1, so the product M over
tokens is a nonnegative supermartingale that starts at 1. By Ville's inequality (1939) it ever
reaches 1/α with probability at most α, whenever one looks and stops. Four things keep that
property and are all that is done to the products here:

- a share λ of the alternative, (1 − λ) + λ a/n, is a ratio too (faults act at some positions only);
- tilts of the null law whose strength is learned have mean at most 1 too
  (`draftproof.lossless.evidence.tilts`);
- cases are independent given the prompts, so their products multiply: logarithms add up;
- an average of supermartingales under fixed weights is one
  (`draftproof.lossless.evidence.decision`).

Source:
    Ville 1939; Wald 1945 for the ratios; Robbins 1970 for mixtures; Ramdas et al. 2023 (arXiv
    2210.01948) for e-processes.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from jaxtyping import Float, Int

from draftproof.errors import TraceError
from draftproof.lossless.evidence.alternatives import ALTERNATIVES, STATED_FAULTS
from draftproof.lossless.evidence.observation import (
    STREAMS,
    STREAMS_OF,
    DeclaredRule,
    Observation,
    Site,
    Stream,
)
from draftproof.lossless.evidence.position import (
    RARE,
    TOLERANCE,
    Joint,
    Located,
    Outcomes,
    Position,
    denominator,
    locate,
)
from draftproof.lossless.evidence.power import MOMENTS, contamination_moments
from draftproof.lossless.evidence.tilts import FEATURES, tilted

SHARES = (1.0, 0.3, 0.1, 0.03)
"""λ: the shares of positions at which an alternative is taken to act."""

POWER_SHARES = SHARES[1:]
"""Those for which power is stated; at λ = 1 a single rejection can end a process."""

LEAST = 1e-12
"""What a law gives an outcome at least, where outcomes that the null law excludes are compared."""

APPLICABLE: dict[Stream, list[int]] = {
    stream: [index for index, a in enumerate(ALTERNATIVES) if stream in a.streams]
    for stream in STREAMS
}
"""Indices of the alternatives that act in a stream. Those of `Stream.DRAFTED` include those of
`Stream.DRAFTED_TOKEN`."""

Laws = Mapping[int, Joint]
"""Laws of (kept?, token) by index of the alternative."""

_SHAPES = {
    "log_ratios": (len(STREAMS), len(ALTERNATIVES), len(SHARES)),
    "tokens": (len(STREAMS),),
    "impossible": (len(STREAMS),),
    "doubtful": (len(STREAMS),),
    "scores": (len(STREAMS), len(FEATURES)),
    "spreads": (len(STREAMS), len(FEATURES), len(FEATURES)),
    "excess": (len(STREAMS),),
    "moments": (len(STREAMS), len(STATED_FAULTS), len(POWER_SHARES), len(MOMENTS)),
}
_COUNTS = ("tokens", "impossible", "doubtful")

_VERSION = 3
"""Of what the stored sums mean, where their names do not tell: 2 divides by another ceiling, 3
judges no token whose passing a filter rounding decides."""


def catalogue() -> str:
    """A hash of what the numbers of an `Evidence` stand for; other versions' cannot be added."""
    names = [str(_VERSION), *STREAMS, *(a.name for a in ALTERNATIVES), *map(str, SHARES)]
    names += [*FEATURES, *map(str, STATED_FAULTS), *MOMENTS]
    return hashlib.sha256("\0".join(names).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Sums over tokens; those of independent cases add up.

    Attributes:
        log_ratios: ``[streams, alternatives, shares]`` sums of log((1 − λ) + λ a/n), in nats. An
            impossible token adds log(λ a): the e-value is infinite then, and the sums only compare
            the alternatives with each other.
        tokens: ``[streams]`` tokens counted. A token at a drafted position is in two streams.
        impossible: ``[streams]`` tokens of probability 0, each of which is proof.
        doubtful: ``[streams]`` tokens that are not judged: rounding decides whether they pass a
            filter.
        scores: ``[streams, features]`` sums of x; see `draftproof.lossless.evidence.tilts`.
        spreads: ``[streams, features, features]`` sums of (x xᵀ + 2 Σ)/3.
        excess: ``[streams]`` sums of what the null law's ceiling costs the tilts, in nats.
        moments: ``[streams, stated faults, shares, moments]`` sums for the power; see
            `draftproof.lossless.evidence.power`.
    """

    log_ratios: Float[np.ndarray, "streams alternatives shares"]
    tokens: Int[np.ndarray, " streams"]
    impossible: Int[np.ndarray, " streams"]
    doubtful: Int[np.ndarray, " streams"]
    scores: Float[np.ndarray, "streams features"]
    spreads: Float[np.ndarray, "streams features features"]
    excess: Float[np.ndarray, " streams"]
    moments: Float[np.ndarray, "streams faults shares moments"]

    @classmethod
    def none(cls) -> Self:
        """No token."""
        return cls(
            **{
                name: np.zeros(shape, np.int64 if name in _COUNTS else np.float64)
                for name, shape in _SHAPES.items()
            }
        )

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(
            **{
                field.name: getattr(self, field.name) + getattr(other, field.name)
                for field in fields(Evidence)
            }
        )

    @property
    def total_tokens(self) -> int:
        """Tokens, each counted once."""
        return int(self.tokens.sum() - self.tokens[STREAMS.index(Stream.DRAFTED_TOKEN)])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, bit for bit; `from_json`'s inverse."""
        packed = {
            field.name: base64.b64encode(
                zlib.compress(getattr(self, field.name).tobytes())
            ).decode()
            for field in fields(Evidence)
        }
        return {"catalogue": catalogue(), **packed}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The evidence from JSON values.

        Raises:
            TraceError: It is not one, or of a version of draftproof with other alternatives.
        """
        if values.get("catalogue") != catalogue():
            raise TraceError(
                "its evidence was stored by a version of draftproof whose anytime-valid test has "
                "other alternatives, and the sums of two versions cannot be added"
            )
        try:
            return cls(
                **{
                    name: np.frombuffer(
                        zlib.decompress(base64.b64decode(values[name], validate=True)),
                        "<i8" if name in _COUNTS else "<f8",
                    ).reshape(shape)
                    for name, shape in _SHAPES.items()
                }
            )
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise TraceError(f"not stored evidence: {error!r}") from error


class EvidenceMeter:
    """Turns observed tokens into `Evidence`.

    Args:
        rule: What the engine is said to do at drafted positions.
        tolerance: How far log-probabilities may be off by rounding, in nats: the spread of the
            target's logits between block widths.
        rare: See `draftproof.lossless.evidence.position.Position`.

    Example:
        A target that says one half, and an engine that always emits token 0::

            meter = EvidenceMeter(DeclaredRule.OTHER)
            for _ in range(40):
                meter.observe(Observation(target=np.array([0.5, 0.5]), token=0))
            log_e_value(meter.evidence)      # far above log(10_000)
    """

    def __init__(
        self, rule: DeclaredRule, *, tolerance: float = TOLERANCE, rare: float = RARE
    ) -> None:
        self._rule = rule
        self._tolerance = tolerance
        self._rare = rare
        self._evidence = Evidence.none()

    @property
    def evidence(self) -> Evidence:
        """A copy of the sums so far."""
        return self._evidence + Evidence.none()

    def observe(self, observation: Observation) -> None:
        """Count one token.

        Raises:
            NumericsError, UsageError: The laws are none; see `Observation.check`.

        Mutates: the sums.
        """
        located = locate(observation, self._rule, tolerance=self._tolerance, rare=self._rare)
        at, streams = located.position, STREAMS_OF[observation.site]
        laws = alternative_laws(at, streams[0])
        for stream in streams:
            kept = None
            if stream is Stream.DRAFTED and at.null is not None:
                kept = observation.site is Site.ACCEPTED
            self._count(stream, located, laws, kept)
            if at.q is not None:
                self._evidence.moments[STREAMS.index(stream)] += _moments(at, laws, kept)

    def _count(self, stream: Stream, located: Located, laws: Laws, kept: bool | None) -> None:
        row, evidence, outcome = STREAMS.index(stream), self._evidence, located.outcome
        evidence.tokens[row] += 1
        is_judged = bool(located.position.judges(kept)[outcome])
        if located.contested or (located.probability > 0 and not is_judged):
            evidence.doubtful[row] += 1
        elif located.probability == 0 or denominator(located.position, kept)[outcome] == 0:
            evidence.impossible[row] += 1
            evidence.log_ratios[row] += _proof_logs(laws, stream, kept, outcome)
        else:
            ratios = likelihood_ratios(located.position, laws, stream, kept, outcome)
            evidence.log_ratios[row, APPLICABLE[stream]] += mixed_logs(ratios)
            tilt = tilted(located.position, kept)
            evidence.scores[row] += tilt.centred(outcome)
            evidence.spreads[row] += tilt.spread(outcome)
            evidence.excess[row] += tilt.excess


def alternative_laws(at: Position, stream: Stream) -> Laws:
    """The law of (kept?, token) under every alternative that acts in a stream, by its index."""
    return {index: ALTERNATIVES[index].joint(at) for index in APPLICABLE[stream]}


def likelihood_ratios(
    at: Position, laws: Laws, stream: Stream, kept: bool | None, outcome: int | slice
) -> np.ndarray:
    """a/n of every alternative that acts in a stream, both given that the outcome is judged.

    Args:
        at: The position.
        laws: From `alternative_laws`.
        stream: Says which alternatives.
        kept: Whether the drafted token was kept; None to judge the token alone.
        outcome: The observed outcome, or several.

    Returns:
        ``[applicable alternatives, ...]``, as many more dimensions as `outcome` selects.
    """
    read = np.array([_read(laws[index], kept)[outcome] for index in APPLICABLE[stream]])
    ratios: np.ndarray = read / denominator(at, kept)[outcome]
    judged = at.judges(kept)
    if not judged.all():
        totals = np.array([laws[index].token.sum(where=judged) for index in APPLICABLE[stream]])
        says = totals > 0
        ratios[says] = (ratios[says].T / totals[says]).T
        ratios[~says] = 1.0
    return ratios


def mixed_logs(ratios: np.ndarray) -> np.ndarray:
    """log((1 − λ) + λ a/n) for every share λ, in a new last dimension.

    Example:
        >>> mixed_logs(np.array([1.0]))
        array([[0., 0., 0., 0.]])
    """
    with np.errstate(divide="ignore"):
        logs: np.ndarray = np.log1p(np.multiply.outer(ratios - 1, np.array(SHARES)))
    return logs


def _proof_logs(laws: Laws, stream: Stream, kept: bool | None, outcome: int) -> np.ndarray:
    """log(λ a) of an outcome of null probability 0: what λ a/n is up to a factor that all share."""
    read = np.zeros(len(ALTERNATIVES))
    read[APPLICABLE[stream]] = [_read(laws[index], kept)[outcome] for index in APPLICABLE[stream]]
    explained: np.ndarray = np.log(np.maximum(np.multiply.outer(read, np.array(SHARES)), LEAST))
    return explained


def _read(law: Joint, kept: bool | None) -> Outcomes:
    if kept is None:
        return law.token
    return law.accepted if kept else law.rejected


def _moments(at: Position, laws: Laws, kept: bool | None) -> np.ndarray:
    """`power.MOMENTS` of one token, or of (kept?, token) where that is what is judged."""
    moments = np.zeros((len(STATED_FAULTS), len(POWER_SHARES), len(MOMENTS)))
    for row, index in enumerate(STATED_FAULTS):
        law = laws.get(index)
        if law is None:
            continue
        ways: tuple[bool | None, ...] = (None,)
        null, fault = at.p, law.token
        if kept is not None and at.null is not None:
            ways = (True, False)
            null, fault = np.concatenate(at.null), np.concatenate(law)
        judged = np.concatenate([at.judges(way) for way in ways])
        divided_by = np.concatenate([denominator(at, way) for way in ways])
        # The fault's law, too, is taken given that the outcome is judged. Others have ratio 1.
        share = float(fault.sum(where=judged))
        ceiling = divided_by if judged.all() else np.where(judged, divided_by * share, fault)
        moments[row] = contamination_moments(null, fault, ceiling, POWER_SHARES)
    return moments
