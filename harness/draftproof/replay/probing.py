"""The steps that speculation would take, told without taking them.

At temperature 0 a draft can only keep what the target says anyway. So the target decodes plainly,
many prompts at once; one pass of the draft model along each output says which step would keep what;
and a probe puts the trees below the tokens at which a step would begin, all of them under one mask.
Steps and nodes are those of the reference engine, up to rounding. Whether speculation is lossless,
and how fast it is, is not tried: reports say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from draftproof.config import RunConfig
from draftproof.drafting.static_tree import ranked_tokens
from draftproof.engines.names import NO_SPECULATION, SPECULATION
from draftproof.engines.parts import counts_of
from draftproof.engines.protocol import Capability, Generation, Request
from draftproof.engines.reference import ReferenceEngine
from draftproof.engines.sites import accepted_tokens
from draftproof.environment import versions
from draftproof.errors import UsageError
from draftproof.models.loading import ModelPair
from draftproof.models.protocol import CausalLM
from draftproof.randomness import SeededRandomness
from draftproof.replay.alignment import Alignment, rooms
from draftproof.replay.matching import accepted_lengths
from draftproof.replay.probe import probe
from draftproof.replay.recorded import UNKNOWN_RANK
from draftproof.replay.recorder import extended, forced_logits
from draftproof.replay.steps import STEP_FACTS, walk
from draftproof.replay.trees import Paths, make_table, tree_paths
from draftproof.sampling import TokenLaw, promoted
from draftproof.stopwatch import Clock, Stopwatch
from draftproof.trace import NODE_COLUMNS, STEP_COLUMNS, Columns, columns_from

RULES = ("auto", "greedy")


class ProbeEngine:
    """Decodes plainly, and tells the steps and nodes that the reference engine would have had.

    Args:
        config: The run's settings: its tree is used.
        pair: Target, draft model and tokenizer.

    Raises:
        UsageError: There is no draft model, or the settings are none that plain outputs decide.
    """

    name = "probe"
    capabilities = frozenset(
        {
            Capability.PLAIN,
            Capability.STOP_TOKENS,
            Capability.STOP_STRINGS,
            Capability.TOKEN_PROMPTS,
            Capability.SEEDS,
            Capability.RUN_SETTINGS,
            Capability.PAIR_TARGET,
            Capability.PAIR_DRAFT,
            Capability.ACCEPTED,
            Capability.COUNTS,
            Capability.STEPS,
            Capability.NODES,
            Capability.BATCHES,
        }
    )

    @classmethod
    def check_settings(cls, config: RunConfig) -> None:
        """Refuse what does not follow from plain outputs.

        Raises:
            UsageError: Says which setting.
        """
        if config.engine_options:
            raise UsageError(
                "--spec-engine probe has no settings of its own: leave --spec-engine-option out"
            )
        sampling = config.sampling
        if not sampling.greedy or sampling.repetition_penalty != 1 or sampling.min_new_tokens:
            raise UsageError(
                "--spec-engine probe works at temperature 0, without a repetition penalty and "
                "without min_new_tokens: only there plain outputs decide what drafts keep. Leave "
                "these options out, or --spec-engine"
            )
        if config.rule not in RULES:
            raise UsageError(
                f"--spec-engine probe keeps what the greedy rule keeps, not --spec-rule "
                f"{config.rule}: leave one of the two out"
            )
        try:
            tree_paths(config.tree)
        except UsageError:
            raise UsageError(
                f"--spec-engine probe: the drafts of --spec-tree {config.tree} are not always of "
                "one shape; give a chain, a k-ary or a static tree (chain:5, 3x2, "
                "static:FILE.json), or leave --spec-engine out"
            ) from None

    def __init__(self, config: RunConfig, pair: ModelPair) -> None:
        self.check_settings(config)
        if pair.draft is None:
            raise UsageError("--spec-engine probe drafts with a model: give --spec-draft")
        self._target: CausalLM = pair.target
        self._draft: CausalLM = pair.draft
        self._shape = str(config.tree)
        self._paths = tuple(
            path for path in tree_paths(config.tree) if max(path) < pair.draft.vocabulary_size
        )
        self._decoder = ReferenceEngine.without_drafts(pair, config)
        self._clock = Clock(getattr(pair.target, "device", None))
        self._plain: dict[tuple[Any, ...], Generation] = {}
        if Capability.BATCHES not in self._decoder.capabilities:
            self.capabilities = self.capabilities - {Capability.BATCHES}

    def plain(self, request: Request) -> Generation:
        """Decode with the target alone, one token a forward pass."""
        return self._decoded(request)

    def speculate(self, request: Request) -> Generation:
        """Decode with the target alone, and find the steps that speculation would have taken.

        Raises:
            DraftproofError: The prompt does not fit, or a model returned what no probability can be
                made of.
        """
        return self._probed(request, self._decoded(request))

    def generate(
        self, requests: Iterable[Request], *, most_rows: int, plainly: bool = False
    ) -> Iterator[tuple[int, Generation]]:
        """Decode `most_rows` requests at once, and the next ones after them; see `BatchEngine`.

        Raises:
            DraftproofError: As `speculate`.
        """
        numbered = enumerate(requests)
        while batch := list(islice(numbered, most_rows)):
            missing = [request for _, request in batch if _key(request) not in self._plain]
            fresh = {
                _key(missing[place]): generation
                for place, generation in self._decoder.generate(
                    missing, most_rows=most_rows, plainly=True
                )
            }
            answers = [
                (index, request, fresh.get(_key(request)) or self._plain.pop(_key(request)))
                for index, request in batch
            ]
            self._plain.update(fresh)
            for index, request, generation in answers:
                yield index, generation if plainly else self._probed(request, generation)

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": versions()["draftproof"],
            "tree": self._shape,
            "rule": "greedy",
            SPECULATION: NO_SPECULATION,
        }

    def close(self) -> None:
        """Nothing to free: the models belong to the pair."""
        self._plain.clear()

    def _decoded(self, request: Request) -> Generation:
        """The plain output: decoded once, kept until a case has asked for it both ways."""
        found = self._plain.pop(_key(request), None)
        if found is not None:
            return found
        self._plain[_key(request)] = self._decoder.plain(request)
        return self._plain[_key(request)]

    def _probed(self, request: Request, plain: Generation) -> Generation:
        watch = Stopwatch(self._clock)
        with watch.running():
            steps, nodes = self._steps_and_nodes(request, plain.token_ids)
        return Generation(
            token_ids=plain.token_ids,
            stop_reason=plain.stop_reason,
            seconds=plain.seconds + watch.seconds,
            accepted=accepted_tokens(steps, len(plain.token_ids)),
            counts=counts_of(steps),
            steps=steps,
            nodes=nodes,
        )

    def _steps_and_nodes(self, request: Request, output: Sequence[int]) -> tuple[Columns, Columns]:
        prompt = request.prompt_token_ids
        deepest = max(map(len, self._paths), default=0)
        tokens = extended(
            prompt,
            output,
            self._target,
            sampling=request.sampling,
            randomness=SeededRandomness(request.seed, request.request_id),
            overrun=deepest,
        )
        prompt_tokens = np.array([len(prompt)])
        room = rooms(prompt_tokens, len(tokens), self._target.max_length, self._draft.max_length)
        alignment = Alignment(
            case_ids=(request.request_id,),
            ranks=self._ranks(prompt, tokens)[None],
            coupling=np.zeros((1, len(tokens))),
            committed=np.array([len(output)]),
            prompt_tokens=prompt_tokens,
            room=room,
        )
        lengths = accepted_lengths(alignment, make_table([self._paths]))[0, 0]
        walked = list(walk(lengths, len(output)))
        steps = _steps(walked, self._paths, room[0], len(prompt))
        nodes = self._nodes(request, tokens, [root for root, _, _ in walked], room[0])
        return steps, nodes

    def _ranks(self, prompt: Sequence[int], tokens: Sequence[int]) -> np.ndarray:
        """``[tokens]`` the sibling rank at which a tree proposes each token, if it does."""
        widest = max((path[-1] + 1 for path in self._paths), default=1)
        found = np.full(len(tokens), UNKNOWN_RANK, np.int32)
        start = 0
        for logits in forced_logits(self._draft, prompt, tokens):
            proposed = ranked_tokens(promoted(logits), widest).cpu().numpy()
            is_it = proposed == np.array(tokens[start : start + len(proposed)])[:, None]
            known = is_it.any(1)
            found[start : start + len(proposed)][known] = is_it.argmax(1)[known]
            start += len(proposed)
        return found

    def _nodes(
        self, request: Request, tokens: Sequence[int], roots: Sequence[int], room: np.ndarray
    ) -> Columns:
        """The trees below the roots of steps, cut where a context ends."""
        law = TokenLaw(request.sampling, len(request.prompt_token_ids))
        deepest = max(map(len, self._paths), default=0)
        depth_of = {root: min(deepest, int(room[root])) for root in roots}
        parts = [
            probe(
                request.prompt_token_ids,
                tokens,
                self._target,
                self._draft,
                _cut(self._paths, depth),
                law,
                at=[root for root in roots if depth_of[root] == depth],
            )
            for depth in sorted(set(depth_of.values()) - {0}, reverse=True)
        ]
        values = {
            name: np.concatenate([part[name] for part in parts] or [np.empty(0)])
            for name in NODE_COLUMNS
        }
        # Cut trees come last, as contexts end; steps are numbered from 0.
        values["step"] = np.searchsorted(roots, values["step"])
        return columns_from(NODE_COLUMNS, values)


def _key(request: Request) -> tuple[Any, ...]:
    """What a plain output depends on."""
    stopping = request.stopping
    return (
        request.request_id,
        request.prompt_token_ids,
        stopping.max_new_tokens,
        stopping.stop_token_ids,
        stopping.stop_strings,
    )


def _cut(paths: Paths, depth: int) -> Paths:
    return tuple(path for path in paths if len(path) <= depth)


def _steps(
    walked: Sequence[tuple[int, int, int]], paths: Paths, room: np.ndarray, prompt_tokens: int
) -> Columns:
    """`STEP_COLUMNS` of the steps that would have been taken; none of them took any time."""
    rows = []
    for step, (root, kept, added) in enumerate(walked):
        drafted = _cut(paths, int(room[root]))
        depth = max(map(len, drafted), default=0)
        rows.append((step, len(drafted), depth, kept, added, prompt_tokens + root))
    facts = np.array(rows, int).reshape(-1, len(STEP_FACTS)).T
    values = dict(zip(STEP_FACTS, facts, strict=True))
    untold = np.full(len(rows), np.nan)
    return columns_from(STEP_COLUMNS, {name: values.get(name, untold) for name in STEP_COLUMNS})
