"""Whether two ways of decoding draw from one law that nobody knows, by pairs of their outputs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_LEAST_PAIRS = 20
"""A property is looked at where it differs within so many pairs: fewer could not decide."""
_BEYOND = ", beyond what the target expects without it, of"


class Drawn(NamedTuple):
    """An output that was drawn, beside what a model expects that knows of no constraint.

    What is expected at a token's place follows from the tokens before it. The difference varies
    less from output to output than what was drawn does, so that less of it is seen.

    Attributes:
        token_ids: Its tokens.
        stop_reason: Why it ended.
        beyond: Other properties by name, each less what the model expects of it.
        expected: ``[vocabulary]`` how many of each token the model expects.
    """

    token_ids: tuple[int, ...]
    stop_reason: str
    beyond: Mapping[str, float]
    expected: Float[np.ndarray, " vocabulary"]


class Difference(NamedTuple):
    """The largest difference of two ways of decoding, over all properties of outputs.

    Attributes:
        p_value: The most probable that it is as large where both draw from one law.
        property: What differs, to be read before "an output"; empty where nothing was compared.
        first: Its mean over the outputs of the first way.
        second: The same of the second.
    """

    p_value: float
    property: str = ""
    first: float = math.nan
    second: float = math.nan


def difference(first: Sequence[Drawn], second: Sequence[Drawn]) -> Difference:
    """How two ways of decoding differ, by pairs of outputs of the same requests.

    Where both draw from one law and every output is drawn by itself, the two of a pair could have
    been exchanged, so that each difference of a property could as well have had the other sign. A
    sum of differences d with random signs is, in size, at least t √(Σ d²) with a probability of at
    most 2 exp(−t²/2); over the properties these probabilities are added up. Which properties are
    looked at depends on what exchanging cannot change.

    Args:
        first: ``[pairs]`` the outputs of one way.
        second: ``[pairs]`` those of the other, of the same requests in the same order.

    Raises:
        ValueError: There are not as many of one as of the other.

    **Source**: Hoeffding, "Probability inequalities for sums of bounded random variables" (1963),
    theorem 2, for signs.

    Example:
        >>> nothing = np.zeros(9)
        >>> one = [Drawn((5, 7), "length", {}, nothing)] * 40
        >>> other = [Drawn((5, 8), "length", {}, nothing)] * 40
        >>> difference(one, one).p_value
        1.0
        >>> found = difference(one, other)
        >>> found.p_value < 1e-4, found.property, found.first, found.second
        (True, 'tokens 7 at index 1 of', 1.0, 0.0)
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} outputs are no pairs")
    names, values = _properties([*first, *second])
    ones, others = values[: len(first)], values[len(first) :]
    differences = ones - others
    telling = (differences != 0).sum(0) >= _LEAST_PAIRS
    if not telling.any():
        return Difference(1.0)
    sums, squares = differences[:, telling].sum(0), (differences[:, telling] ** 2).sum(0)
    sizes = np.abs(sums) / np.sqrt(squares)
    best = int(sizes.argmax())
    chance = 2 * int(telling.sum()) * math.exp(-(float(sizes[best]) ** 2) / 2)
    where = int(np.flatnonzero(telling)[best])
    return Difference(
        min(1.0, chance),
        names[where],
        float(ones[:, where].mean()),
        float(others[:, where].mean()),
    )


def _properties(outputs: Sequence[Drawn]) -> tuple[list[str], Float[np.ndarray, "outputs n"]]:
    """Properties of outputs by name: what a setting of any kind may change."""
    columns: dict[str, list[float]] = {
        "tokens": [len(output.token_ids) for output in outputs],
        "ends by a stop": [output.stop_reason != "length" for output in outputs],
    }
    for name in outputs[0].beyond if outputs else ():
        columns[name + _BEYOND] = [output.beyond[name] for output in outputs]
    places = [Counter(enumerate(output.token_ids)) for output in outputs]
    placed = Counter(place for count in places for place in count)
    for index, token in sorted(place for place, n in placed.items() if n >= _LEAST_PAIRS):
        columns[f"tokens {token} at index {index} of"] = [count[index, token] for count in places]
    counts = [Counter(output.token_ids) for output in outputs]
    common = Counter(token for count in counts for token in count)
    for token in sorted(token for token, n in common.items() if n >= _LEAST_PAIRS):
        columns[f"tokens {token}{_BEYOND}"] = [
            count[token] - float(output.expected[token])
            for count, output in zip(counts, outputs, strict=True)
        ]
    return list(columns), np.array(list(columns.values()), dtype=np.float64).T
