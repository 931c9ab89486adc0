"""The fixtures that kernels are examined on: the adversarial pairs, hard laws, and drawn ones."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import numpy as np

from draftproof.assets import asset_path
from draftproof.kernels.contract import KernelFacts, Shape
from draftproof.kernels.tables import DraftTable, Fixture, chain, drafts, turning
from draftproof.laws import ProposalLaw

Pair = tuple[list[float], list[float]]

HARD: dict[str, Pair] = {
    "one-hot p": ([0, 1, 0], [0.2, 0.3, 0.5]),
    "one-hot q": ([0.2, 0.3, 0.5], [0, 1, 0]),
    "one-hot p and q, apart": ([1, 0, 0], [0, 0, 1]),
    "near-one-hot p": ([1e-6, 1 - 2e-6, 1e-6], [0.2, 0.3, 0.5]),
    "near-one-hot q": ([0.5, 0.3, 0.2], [1e-3, 1 - 2e-3, 1e-3]),
    "zeros in p": ([0.5, 0, 0.5, 0], [0.25, 0.25, 0.25, 0.25]),
    "zeros in q": ([0.25, 0.25, 0.25, 0.25], [0.5, 0, 0.5, 0]),
    "no id in common": ([0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]),
    "p equals q": ([0.5, 0.2, 0.3], [0.5, 0.2, 0.3]),
    "ties": ([0.25, 0.25, 0.5], [0.5, 0.25, 0.25]),
    "all alike": ([0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]),
    "a filter leaves one id of p": ([0, 0, 1, 0], [0.1, 0.2, 0.3, 0.4]),
    "a filter leaves one id of q": ([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 0]),
}
"""Laws on which lines of code meet their limits, by what is hard about them."""


def adversarial_pairs() -> dict[str, Pair]:
    """The pairs (p, q) of ``fixtures/adversarial``, on each of which a known fault shows most."""
    path = asset_path("adversarial", "distributions.json")
    entries = json.loads(path.read_text(encoding="utf-8"))
    return {entry["name"]: (entry["p"], entry["q"]) for entry in entries}


def drawn_pairs(count: int, seed: int, *, support: int = 4) -> dict[str, Pair]:
    """Pairs drawn from Dirichlet laws of concentrations from 0.2 to 2."""
    random = np.random.default_rng(seed)
    pairs = {}
    for index in range(count):
        p, q = (random.dirichlet(np.full(support, random.uniform(0.2, 2))) for _ in range(2))
        pairs[f"drawn {index}"] = ((p + 1e-4).tolist(), (q + 1e-4).tolist())
    return pairs


_TREES: dict[str, tuple[int, ...]] = {
    "two siblings": (-1, -1),
    "three siblings": (-1, -1, -1),
    "a sibling and a grandchild": (-1, -1, 0),
    "siblings of depth two": (-1, -1, 0, 0),
    "children of the second sibling": (-1, -1, 1),
}
"""Shapes of drafts, each small enough for every draft of it to be tried."""


def fixtures(facts: KernelFacts, *, drawn: int = 6, seed: int = 0) -> Iterator[Fixture]:
    """The fixtures that a kernel's law is examined on.

    Args:
        facts: Of the kernel.
        drawn: How many pairs to draw besides.
        seed: Of the drawn ones.
    """
    pairs = adversarial_pairs() | HARD | drawn_pairs(drawn, seed)
    for name, (p, q) in pairs.items():
        for parents in _shapes(facts, name, len(p)):
            yield turning(name, np.array(p), np.array(q), parents, proposals=facts.proposals)


def _shapes(facts: KernelFacts, name: str, support: int) -> Iterator[tuple[int, ...]]:
    if facts.shape is Shape.CHAIN:
        yield chain(1)
        yield chain(2)
        if name in ("no-residual", "found-leniency", "zeros in p"):
            yield chain(3)
        return
    yield chain(1)
    few = name in HARD or name.startswith(("drawn", "found"))
    for parents in list(_TREES.values())[: 2 if few and support < 4 else 1 if few else 5]:
        siblings = max(parents.count(parent) for parent in parents)
        if facts.proposals is ProposalLaw.INDEPENDENT or siblings <= support:
            yield parents


def all_drafts(facts: KernelFacts, **settings: int) -> list[tuple[Fixture, list[DraftTable]]]:
    """Every fixture with every draft that its draft model may propose.

    Fixtures whose draft model cannot propose so many siblings are left out.
    """
    found = []
    for fixture in fixtures(facts, **settings):
        tables = list(drafts(fixture))
        if tables and abs(sum(table.weight for table in tables) - 1) < 1e-9:
            found.append((fixture, tables))
    return found


def chains_of_all_lengths(
    facts: KernelFacts, lengths: range, *, seed: int = 0, copies: int = 1, support: int = 5
) -> list[DraftTable]:
    """Drafted chains of several lengths, every position with laws of its own.

    Args:
        facts: Of the kernel.
        lengths: Of the chains.
        seed: Of their laws and tokens.
        copies: Chains of each length.
        support: Ids.
    """
    random = np.random.default_rng(seed)
    tables = []
    for _ in range(copies):
        for length in lengths:
            target = random.dirichlet(np.ones(support), length + 1)
            # Near enough to the target's for long prefixes to be kept.
            share = random.uniform(0.1, 0.5)
            draft = (1 - share) * target + share * random.dirichlet(np.ones(support), length + 1)
            if facts.deterministic:
                tokens = [int(row.argmax()) for row in target[:length]]
            else:
                tokens = [int(random.choice(support, p=row / row.sum())) for row in draft[:length]]
            tables.append(
                DraftTable(
                    tokens=tuple(tokens),
                    target=target,
                    draft=draft,
                    proposals=facts.proposals,
                    name=f"a chain of {length}",
                )
            )
    return tables


def chains_of_several_lengths(facts: KernelFacts, *, seed: int = 0) -> list[DraftTable]:
    """One chain of each length from 0 to 16 over three ids: their exact law is computed."""
    return chains_of_all_lengths(facts, range(17), seed=seed, support=3)


def several_fixtures(
    facts: KernelFacts, *, seed: int = 0, longest: int = 3
) -> list[tuple[Fixture, list[DraftTable]]]:
    """Fixtures of several shapes with every draft of each, for kernels whose output is judged.

    Args:
        facts: Of the kernel.
        seed: Of their laws.
        longest: Chain; one of each length is made.
    """
    found = []
    for number, (name, (p, q)) in enumerate(
        drawn_pairs(4, seed, support=2 + (longest < 4)).items()
    ):
        if facts.shape is Shape.CHAIN:
            shapes = [chain(length) for length in range(longest + 1)]
        else:
            shapes = [(-1, -1, 0), (-1, 0, -1), (-1, -1, 1)]
        if facts.shape is Shape.TREE and facts.level_order:
            shapes.remove((-1, 0, -1))
        if not facts.ragged:
            shapes = shapes[-1:]
        for parents in shapes:
            made = turning(
                f"{name}, {number}", np.array(p), np.array(q), parents, proposals=facts.proposals
            )
            found.append((made, list(drafts(made))))
    return found


FORMS: dict[str, tuple[int, ...]] = {
    "eight siblings": (-1,) * 8,
    "two of every node": (-1, -1, 0, 0, 1, 1, 2, 2),
    "children of later siblings": (-1, -1, -1, 2, 2, 2, 5, 5),
    "depth six": (-1, -1, 0, 2, 3, 4, 5, 5),
    "depth first": (-1, 0, 1, 1, -1, 4, 0, -1),
    "siblings apart": (-1, 0, -1, 0, -1, 2, 0, 2),
}
"""Trees of eight nodes, for one batch; the last two do not stand level by level."""

_NOT_BY_LEVELS = ("depth first", "siblings apart")


def trees_of_many_forms(
    facts: KernelFacts, *, seed: int = 0, copies: int = 4, support: int = 9
) -> list[DraftTable]:
    """Trees of eight nodes, every node with laws of its own.

    Drawn siblings are mostly those that the target wants less than the draft model does, so that a
    second one is seldom kept. Of every second copy they stand in the order of p/q: the first are
    rejected, and a later one is what is left to keep.

    Args:
        facts: Of the kernel.
        seed: Of their laws and tokens.
        copies: Of each form.
        support: Ids, more than siblings.
    """
    random = np.random.default_rng(seed)
    forms = {
        name: parents
        for name, parents in FORMS.items()
        if not (facts.level_order and name in _NOT_BY_LEVELS)
    }
    tables = []
    for copy, (name, parents) in itertools.product(range(copies), forms.items()):
        target = random.dirichlet(np.full(support, 0.7), len(parents) + 1)
        share = random.uniform(0.2, 0.6)
        noise = random.dirichlet(np.ones(support), len(parents) + 1)
        draft = (1 - share) * target + share * noise
        ordered = copy % 2 == 1 and not facts.deterministic
        tokens = (
            _by_ratio(parents, target, draft)
            if ordered
            else _drafted(facts, parents, draft, random)
        )
        tables.append(
            DraftTable(
                tokens=tokens,
                target=target,
                draft=draft,
                parents=parents,
                proposals=facts.proposals,
                name=name,
            )
        )
    return tables


def _by_ratio(parents: tuple[int, ...], target: np.ndarray, draft: np.ndarray) -> tuple[int, ...]:
    """Siblings from the lowest p/q to the highest, spread over all ids."""
    tokens: list[int] = []
    for node, parent in enumerate(parents):
        order = np.argsort(target[parent + 1] / draft[parent + 1])
        siblings = parents.count(parent)
        place = parents[:node].count(parent)
        step = (len(order) - 1) / max(1, siblings - 1)
        tokens.append(int(order[round(place * step) if siblings > 1 else len(order) // 2]))
    return tuple(tokens)


def _drafted(
    facts: KernelFacts, parents: tuple[int, ...], draft: np.ndarray, random: np.random.Generator
) -> tuple[int, ...]:
    """Tokens as the draft model proposes them."""
    tokens: list[int] = []
    for node, parent in enumerate(parents):
        law = draft[parent + 1].copy()
        earlier = [tokens[other] for other in range(node) if parents[other] == parent]
        if facts.proposals is not ProposalLaw.INDEPENDENT:
            law[earlier] = 0
        if facts.deterministic:
            tokens.append(int(law.argmax()))
        else:
            tokens.append(int(random.choice(len(law), p=law / law.sum())))
    return tuple(tokens)


def wide_fixture(facts: KernelFacts, vocabulary: int) -> Fixture:
    """Laws over a few ids of a large vocabulary: its ends, and around powers of two."""
    last = vocabulary - 1
    marks = [mark for mark in (0, 1023, 1024, 32_767, 65_536, vocabulary // 2) if mark < last]
    ids = sorted({*marks[-4:], last})
    random = np.random.default_rng(vocabulary)
    target, draft = random.dirichlet(np.ones(len(ids)), 2) * 0.9 + 0.1 / len(ids)
    shape = chain(1) if facts.shape is Shape.CHAIN else (-1, -1)
    return turning(
        f"{vocabulary} ids",
        target,
        draft,
        shape,
        proposals=facts.proposals,
        ids=ids,
        vocabulary=vocabulary + (8 if vocabulary < 100 else 0),
    )


def wide_tables(facts: KernelFacts, vocabulary: int) -> list[DraftTable]:
    """Drafts of `wide_fixture`: of large vocabularies the two that are rejected most often."""
    found = list(drafts(wide_fixture(facts, vocabulary)))
    if vocabulary > 10_000 or facts.one_row:
        found.sort(
            key=lambda table: min(
                1.0, table.target[0, table.tokens[0]] / max(1e-9, table.draft[0, table.tokens[0]])
            )
        )
        return found[:2]
    return found[:12]


def dense_table(facts: KernelFacts, vocabulary: int) -> DraftTable:
    """A draft that is mostly rejected, over laws in which every id has a share of its own.

    What is drawn after the rejection may be any id: a kernel that looks at the largest few alone
    is seen here, and not where few ids are possible.
    """
    random = np.random.default_rng(vocabulary)
    parents = chain(1) if facts.shape is Shape.CHAIN else (-1, -1)
    target, draft = random.dirichlet(np.ones(vocabulary), (2, len(parents) + 1))
    unlikely = np.argsort(target[0] / draft[0])
    return DraftTable(
        tokens=tuple(unlikely[: len(parents)].tolist()),
        target=target,
        draft=draft,
        parents=parents,
        proposals=facts.proposals,
        ids=tuple(range(vocabulary)),
        vocabulary=vocabulary,
        name=f"{vocabulary} ids, each with a share",
    )
