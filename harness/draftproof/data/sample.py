"""Which prompts of a data set a run uses: seeded, stable, nested and balanced."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from draftproof.errors import UsageError


def check_limit(limit: int | None) -> None:
    """Refuses a number of prompts that would leave nothing to run.

    Raises:
        UsageError: `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise UsageError(
            f"limit: {limit} prompts a domain leave nothing to run; "
            "give a number of at least 1, or None for the whole data set"
        )


def sample_indices(prompt_ids: Sequence[str], *, limit: int | None, seed: int) -> list[int]:
    """The positions of the chosen prompts, in the order of the data set.

    Every prompt has a place in one total order that depends on the seed and the ids alone,
    and a sample is a prefix of it. So, for a given seed:

    - it is the same on every machine and Python version (SHA-256, no generator);
    - it does not depend on the order of the rows;
    - it is **nested**: the sample for a limit N is part of the sample for N + 1, so a larger
      run contains a smaller one and results of both can be paired;
    - it is **balanced** over groups. A prompt's group is its id up to the last ``/``, such as
      a task of BBH. The order takes one prompt of each group, then a second of each, and so
      on, so two groups differ by at most one prompt until the smaller is used up.

    Args:
        prompt_ids: Unique ids, in the order of the data set.
        limit: How many to choose; None, or more than there are, chooses all.
        seed: Any integer.

    Returns:
        Ascending positions in `prompt_ids`.

    Raises:
        UsageError: `limit` is below 1.

    Example:
        >>> ids = ["bbh/a/0", "bbh/a/1", "bbh/a/2", "bbh/b/0"]
        >>> sample_indices(ids, limit=2, seed=0)
        [2, 3]
        >>> sample_indices(ids, limit=9, seed=0)
        [0, 1, 2, 3]
    """
    check_limit(limit)
    if limit is None or limit >= len(prompt_ids):
        return list(range(len(prompt_ids)))

    groups: defaultdict[str, list[tuple[bytes, str, int]]] = defaultdict(list)
    for position, prompt_id in enumerate(prompt_ids):
        digest = _digest(seed, prompt_id)
        groups[prompt_id.rpartition("/")[0]].append((digest, prompt_id, position))
    order = sorted(
        (rank, digest, prompt_id, position)
        for group in groups.values()
        for rank, (digest, prompt_id, position) in enumerate(sorted(group))
    )
    return sorted(position for *_, position in order[:limit])


def _digest(seed: int, prompt_id: str) -> bytes:
    return hashlib.sha256(f"{seed}:{prompt_id}".encode("utf-8", "surrogatepass")).digest()
