"""Measures what forward passes cost, on the device in use, and what an engine adds to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import nnls

from draftproof.batch.models import BatchLM, SeparateRows
from draftproof.config import RunConfig
from draftproof.data.prompt import Prompt
from draftproof.engines.measuring import Bench
from draftproof.engines.protocol import Generation, Request
from draftproof.engines.reference import ReferenceEngine
from draftproof.engines.rows import rows_maker
from draftproof.environment import hardware, versions
from draftproof.errors import DraftproofError, UsageError
from draftproof.models.protocol import CausalLM
from draftproof.replay.costs import WIDTHS, CostModel, ForwardCosts
from draftproof.replay.making import LoadedModels
from draftproof.replay.pricing import Widths, step_cost
from draftproof.replay.trees import tree_paths
from draftproof.shapes import ChainShape, KAryShape, TreeShape
from draftproof.stopwatch import Clock
from draftproof.transfer import sent
from draftproof.tree import ROOT

CONTEXTS = (32, 128, 512, 2048)
"""Context lengths that are measured, as far as the models' contexts reach."""
FEWEST_ROUNDS, MOST_ROUNDS = 3, 15
SECONDS = 20.0
"""Time for one model's forward passes, after `FEWEST_ROUNDS` rounds."""

_SHAPES: tuple[TreeShape, ...] = (ChainShape(1), ChainShape(4), KAryShape(1, 8), KAryShape(3, 2))
_TOKENS = 24


def measure_costs(
    models: LoadedModels,
    config: RunConfig,
    prompts: Sequence[Prompt],
    report: Callable[[str], None],
) -> CostModel:
    """The costs of loaded models under some settings.

    Every width is measured once a round, in an order of its own, so that a machine that slows down
    for a while does so for all of them; the median of the rounds is kept. What the engine adds is
    what its own outputs take beyond their forward passes, by least squares over drafts of different
    shapes.

    Args:
        models: As a recording loads them.
        config: The sampling and the seed are used.
        prompts: Some, for what the engine adds.
        report: Told what is being measured.

    Raises:
        UsageError: There is no prompt.
    """
    target = models.pair.target
    report("measuring forward passes of the target")
    of_target = forward_costs(target)
    of_drafts = {}
    for name, model in models.drafts.items():
        report(f"measuring forward passes of {name}")
        of_drafts[name] = forward_costs(model)
    costs = CostModel(
        target=of_target,
        drafts=of_drafts,
        device=_device_name(target),
        versions={name: version for name, version in versions().items() if name != "pytest"},
    )
    report("measuring what the engine adds")
    return with_overheads(costs, models, config, prompts)


def forward_costs(model: CausalLM, seconds: float = SECONDS) -> ForwardCosts:
    """One model's forward passes, by tokens scored and context length."""
    make = rows_maker(model)
    rows: BatchLM = SeparateRows(lambda: model) if make is None else make()
    clock = Clock(rows.device)
    widest = [width for width in WIDTHS if width < model.max_length]
    contexts = [n for n in CONTEXTS if n + widest[-1] <= model.max_length]
    contexts = contexts or [max(1, model.max_length - widest[-1])]
    times: dict[tuple[int, int], list[float]] = {(c, w): [] for c in contexts for w in widest}
    began, order = time.monotonic(), np.random.default_rng(0)
    for number in range(MOST_ROUNDS + 1):
        if number > FEWEST_ROUNDS and time.monotonic() - began > seconds:
            break
        for context in contexts:
            rows.start([0], [[token % model.vocabulary_size for token in range(context)]])
            _pass_seconds(rows, 1, clock)  # the prompt's pass leaves other things in the caches
            for width in order.permutation(widest).tolist():
                taken = _pass_seconds(rows, width, clock)
                if number:  # the first round warms up
                    times[context, width].append(taken * 1000)
    medians = np.array([[np.median(times[c, w]) for w in widest] for c in contexts])
    spreads = [
        (np.quantile(each, 0.75) - np.quantile(each, 0.25)) / 2 / np.median(each)
        for each in times.values()
    ]
    return ForwardCosts.monotone(tuple(widest), tuple(contexts), medians, float(np.median(spreads)))


def _pass_seconds(rows: BatchLM, width: int, clock: Clock) -> float:
    """One pass over a root's children, dropped again."""
    ids = sent([[token % rows.vocabulary_size for token in range(width)]], rows.device)
    start = clock.now()
    rows.score(ids, (ROOT,) * width)
    taken = clock.now() - start
    rows.commit([()])
    return taken


def with_overheads(
    costs: CostModel, models: LoadedModels, config: RunConfig, prompts: Sequence[Prompt]
) -> CostModel:
    """The costs with what the engine adds to forward passes, and with prefill.

    Raises:
        UsageError: No prompt leaves room for an output.
    """
    config = replace(
        config, check_state=0.0, batch=1, rule="auto", tree=ChainShape(1), draw_log=None
    )
    pair = models.pair
    bench = Bench(ReferenceEngine.without_drafts(pair, config), pair, config)
    requests = []
    for prompt in prompts:
        try:
            requests.append(bench.request(prompt))
        except DraftproofError:
            continue
    if not requests:
        raise UsageError("no prompt leaves room for an output, so that costs cannot be measured")
    plain = bench.engine.plain
    plain_prompt = _prefill(requests, plain)
    passes = _PlainPasses(costs, plain_prompt)
    for request in requests:
        passes.add(_median_answer(plain, _shortened(request, _TOKENS)), request)
    rows: list[tuple[float, float]] = []
    left: list[float] = []
    draft_prompts: dict[str, tuple[float, float]] = {}
    for name, model in models.drafts.items():
        paired = replace(pair, draft=model)
        for shape in _SHAPES:
            engine = ReferenceEngine(paired, replace(config, tree=shape))
            if name not in draft_prompts:
                both = _prefill(requests, engine.speculate)
                fixed, each = (b - a for a, b in zip(plain_prompt, both, strict=True))
                draft_prompts[name] = max(0.0, fixed), max(0.0, each)
            widths = Widths.of_tree(tree_paths(shape))
            for request in requests:
                answer = _median_answer(engine.speculate, _shortened(request, _TOKENS))
                steps = 0 if answer.steps is None else len(answer.steps["step"])
                if steps:
                    step = sum(step_cost(widths, costs, name, _context(request)))
                    rows.append((steps, steps * len(widths.levels)))
                    left.append(answer.seconds * 1000 - _of(both, request) - steps * float(step))
    step_ms, level_ms = nnls(np.array(rows), np.array(left))[0] if rows else (0.0, 0.0)
    return replace(
        costs,
        step_ms=float(step_ms),
        level_ms=float(level_ms),
        plain_ms=passes.added,
        target_prompt=plain_prompt,
        draft_prompts=draft_prompts,
    )


class _PlainPasses:
    """What plain decoding takes beyond the target's forward passes.

    Args:
        costs: Of the forward passes.
        prompt: Milliseconds of outputs of one token.
    """

    def __init__(self, costs: CostModel, prompt: tuple[float, float]) -> None:
        self._costs, self._prompt = costs, prompt
        self._left, self._tokens = 0.0, 0

    def add(self, answer: Generation, request: Request) -> None:
        """Take note of an output."""
        tokens = len(answer.token_ids) - 1
        self._tokens += tokens
        self._left += answer.seconds * 1000 - _of(self._prompt, request)
        self._left -= tokens * float(self._costs.target.of(1, _context(request)))

    @property
    def added(self) -> float:
        """Milliseconds a token."""
        return max(0.0, self._left / max(1, self._tokens))


def _prefill(
    requests: Sequence[Request], answer: Callable[[Request], Generation]
) -> tuple[float, float]:
    """Milliseconds of outputs of one token: of any prompt, and of each of its tokens."""
    lengths = [len(request.prompt_token_ids) for request in requests]
    taken = [_median_answer(answer, _shortened(each, 1)).seconds * 1000 for each in requests]
    known = np.stack([np.ones(len(lengths)), np.array(lengths, float)], 1)
    fixed, each = nnls(known, np.array(taken))[0]
    return float(fixed), float(each)


def _of(prompt: tuple[float, float], request: Request) -> float:
    return prompt[0] + prompt[1] * len(request.prompt_token_ids)


def _context(request: Request) -> float:
    """The mean context of an output's steps."""
    return len(request.prompt_token_ids) + _TOKENS / 2


def _median_answer(answer: Callable[[Request], Generation], request: Request) -> Generation:
    """Of three answers, the one whose seconds are in the middle."""
    return sorted((answer(request) for _ in range(3)), key=lambda each: each.seconds)[1]


def _shortened(request: Request, tokens: int) -> Request:
    stopping = request.stopping
    return replace(
        request,
        stopping=replace(stopping, max_new_tokens=min(tokens, stopping.max_new_tokens)),
    )


def _device_name(model: CausalLM) -> str:
    device = getattr(model, "device", torch.device("cpu"))
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    facts: Mapping[str, object] = hardware()
    return f"{facts['cpu']}, {facts['torch_threads']} threads"
