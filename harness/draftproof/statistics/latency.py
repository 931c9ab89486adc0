"""How long users wait: for the first token, for the next one, and for an output of its length."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from draftproof.trace import CaseRecord, DecodedOutput

PERCENTILES = (50, 90, 99)
SIDES = ("plain", "speculative")
AT_ONCE = 0.001
"""Seconds within which pieces count as one: a server may send what a step emits token by token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """The smallest observed values that so many percent of all are not above.

    Attributes:
        values: One for each of `PERCENTILES`; NaN where nothing was observed.
        n: Observed values. Of fewer than 100, the 99th percentile is the largest.
    """

    values: tuple[float, ...]
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The times of one side's outputs.

    Attributes:
        time_to_first_token: Seconds from sending a request to its first piece that holds a token.
        inter_token: Seconds between two pieces divided by the tokens of the second, once for each
            of these tokens: a step that brings four tokens at once counts four short waits, in
            whatever pieces they are sent (`AT_ONCE`). (Peers that count one wait a piece have
            longer ones, or many of 0, where speculation is good.)
        tokens_a_second: Of each request: tokens of its output ÷ its seconds, prefill included.
        server_time_to_first_token: `time_to_first_token` by the server's own clock, which leaves
            the network and the client out.
        server_tokens_a_second: `tokens_a_second` likewise.
    """

    time_to_first_token: Percentiles
    inter_token: Percentiles
    tokens_a_second: Percentiles
    server_time_to_first_token: Percentiles
    server_tokens_a_second: Percentiles


def latencies(cases: Sequence[CaseRecord]) -> dict[str, Latency]:
    """The times of plain and of speculative outputs, for sides that tell more than seconds.

    These are the ones that told when tokens arrived, or what the server's own clock says.
    """
    found = {}
    for side in SIDES:
        outputs = [output for case in cases if (output := getattr(case, side)) is not None]
        if any(output.arrivals or output.server_seconds for output in outputs):
            found[side] = Latency(
                time_to_first_token=_of(outputs, _first),
                inter_token=_of(outputs, _gaps),
                tokens_a_second=_of(outputs, _rate),
                server_time_to_first_token=_of(outputs, _server_first),
                server_tokens_a_second=_of(outputs, _server_rate),
            )
    return found


def percentiles(values: Sequence[float]) -> Percentiles:
    """The percentiles of some values.

    Example:
        >>> percentiles([0.3, 0.1, 0.2])
        Percentiles(values=(0.2, 0.3, 0.3), n=3)
    """
    if not values:
        return Percentiles(values=(math.nan,) * len(PERCENTILES), n=0)
    at = np.percentile(values, PERCENTILES, method="inverted_cdf")
    return Percentiles(values=tuple(float(value) for value in at), n=len(values))


def _of(
    outputs: Iterable[DecodedOutput], values: Callable[[DecodedOutput], list[float]]
) -> Percentiles:
    return percentiles([value for output in outputs for value in values(output)])


def _first(output: DecodedOutput) -> list[float]:
    return [output.arrivals[0][0]] if output.arrivals else []


def _gaps(output: DecodedOutput) -> list[float]:
    together: list[tuple[float, int]] = []
    for seconds, tokens in output.arrivals or ():
        if together and seconds - together[-1][0] < AT_ONCE:
            together[-1] = (together[-1][0], together[-1][1] + tokens)
        else:
            together.append((seconds, tokens))
    gaps: list[float] = []
    for (before, _), (after, tokens) in pairwise(together):
        gaps += [(after - before) / tokens] * tokens
    return gaps


def _rate(output: DecodedOutput) -> list[float]:
    return [output.length / output.seconds] if output.length and output.seconds > 0 else []


def _server_first(output: DecodedOutput) -> list[float]:
    first, _ = output.server_seconds or (math.nan, math.nan)
    return [] if math.isnan(first) else [first]


def _server_rate(output: DecodedOutput) -> list[float]:
    _, whole = output.server_seconds or (math.nan, math.nan)
    return [output.length / whole] if output.length and whole > 0 else []
