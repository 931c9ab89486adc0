"""Measures what forward passes cost, on the device in use, and what an engine adds to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

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
from draftproof.shapes import NO_TREE, ChainShape, KAryShape, TreeShape
from draftproof.stopwatch import Clock
from draftproof.transfer import sent
from draftproof.tree import ROOT
from draftproof.wording import counted

CONTEXTS = (32, 128, 512, 2048)
"""Context lengths that are measured, as far as the models' contexts reach."""
FEWEST_ROUNDS, MOST_ROUNDS = 3, 15
SECONDS = 60.0
"""Time after which no further round begins, once there are `FEWEST_ROUNDS`."""

_SHAPES: tuple[TreeShape, ...] = (ChainShape(1), ChainShape(4), KAryShape(1, 8), KAryShape(3, 2))
_TOKENS, _REQUESTS = 24, 4


def measure_costs(
    models: LoadedModels,
    config: RunConfig,
    prompts: Sequence[Prompt],
    report: Callable[[str], None],
) -> CostModel:
    """The costs of loaded models under some settings.

    Everything is measured once a round: every width of every model in an order of its own, and
    whole outputs of the engine. So a machine that slows down for a while does so for all of them,
    and what speedups are made of, the ratios, stay. The median of the rounds is kept. What the
    engine adds is what its outputs take beyond their forward passes, by least squares over drafts
    of different shapes.

    Args:
        models: As a recording loads them.
        config: The sampling and the seed are used.
        prompts: Some, for what the engine adds.
        report: Told what is being measured.

    Raises:
        UsageError: No prompt leaves room for an output.
    """
    target = models.pair.target
    passes = {"": ForwardPasses(target)}
    passes |= {name: ForwardPasses(model) for name, model in models.drafts.items()}
    outputs = EngineOutputs(models, config, prompts)
    report(
        f"measuring costs for about {SECONDS:.0f} s, or {FEWEST_ROUNDS + 1} rounds where those "
        "take longer; leave the machine alone"
    )
    began = time.monotonic()
    for is_kept in rounds():
        for each in passes.values():
            each.measure(is_kept=is_kept)
        outputs.measure(is_kept=is_kept)
        if not is_kept and (seconds := time.monotonic() - began) * FEWEST_ROUNDS > SECONDS:
            report(f"a round takes {seconds:.0f} s, and {FEWEST_ROUNDS} more follow")
    found = {name: each.costs() for name, each in passes.items()}
    costs = CostModel(
        target=found.pop(""),
        drafts=found,
        device=_device_name(target),
        versions={name: version for name, version in versions().items() if name != "pytest"},
    )
    return outputs.complete(costs)


def rounds() -> Iterator[bool]:
    """Rounds until there are enough; whether each is kept, which the first is not: it warms up."""
    began = time.monotonic()
    yield False
    for number in range(MOST_ROUNDS):
        if number >= FEWEST_ROUNDS and time.monotonic() - began > SECONDS:
            return
        yield True


def forward_costs(model: CausalLM) -> ForwardCosts:
    """One model's forward passes alone, by tokens scored and context length."""
    passes = ForwardPasses(model)
    for is_kept in rounds():
        passes.measure(is_kept=is_kept)
    return passes.costs()


class ForwardPasses:
    """Times a model's forward passes over every width after every context.

    Args:
        model: Held as rows of a batch where it can be, as the engine holds it.
    """

    def __init__(self, model: CausalLM) -> None:
        make = rows_maker(model)
        self._rows: BatchLM = SeparateRows(lambda: model) if make is None else make()
        self._clock = Clock(self._rows.device)
        self._widths = tuple(width for width in WIDTHS if width < model.max_length)
        widest = self._widths[-1]
        contexts = tuple(n for n in CONTEXTS if n + widest <= model.max_length)
        self._contexts = contexts or (max(1, model.max_length - widest),)
        self._order = np.random.default_rng(0)
        self._times: dict[tuple[int, int], list[float]] = {
            (context, width): [] for context in self._contexts for width in self._widths
        }

    def measure(self, *, is_kept: bool) -> None:
        """Time every pass once."""
        for context in self._contexts:
            self._rows.start(
                [0], [[token % self._rows.vocabulary_size for token in range(context)]]
            )
            # The prompt's pass leaves other things in the caches of the processor.
            _pass_seconds(self._rows, 1, self._clock)
            for width in self._order.permutation(self._widths).tolist():
                taken = _pass_seconds(self._rows, width, self._clock)
                if is_kept:
                    self._times[context, width].append(taken * 1000)

    def costs(self) -> ForwardCosts:
        """The medians, made monotone, and their noise."""
        medians = np.array(
            [[np.median(self._times[c, w]) for w in self._widths] for c in self._contexts]
        )
        spreads = [
            (np.quantile(each, 0.75) - np.quantile(each, 0.25)) / 2 / np.median(each)
            for each in self._times.values()
        ]
        return ForwardCosts.monotone(
            self._widths, self._contexts, medians, float(np.median(spreads))
        )


def _pass_seconds(rows: BatchLM, width: int, clock: Clock) -> float:
    """One pass over a root's children, dropped again."""
    ids = sent([[token % rows.vocabulary_size for token in range(width)]], rows.device)
    start = clock.now()
    rows.score(ids, (ROOT,) * width)
    taken = clock.now() - start
    rows.commit([()])
    return taken


@dataclass(slots=True, kw_only=True)
class _Output:
    """Outputs of one engine on one request, again and again.

    Attributes:
        answer: Decodes.
        request: What is decoded.
        draft: Name of the draft model; None where there is none.
        widths: Of every step; None for plain decoding and for outputs of one token.
        milliseconds: Of each round.
        steps: Steps, or tokens of plain decoding, after the first token.
    """

    answer: Callable[[Request], Generation]
    request: Request
    draft: str | None = None
    widths: Widths | None = None
    milliseconds: list[float] = field(default_factory=list)
    steps: int = 0

    @property
    def prompt_tokens(self) -> int:
        return len(self.request.prompt_token_ids)

    @property
    def median(self) -> float:
        """Milliseconds."""
        return float(np.median(self.milliseconds))

    @property
    def context(self) -> float:
        """The mean context of its steps."""
        return self.prompt_tokens + _TOKENS / 2


class EngineOutputs:
    """Times whole outputs of the reference engine: plain ones, and with drafts of some shapes.

    Args:
        models: As a recording loads them.
        config: The sampling and the seed are used.
        prompts: What is decoded.

    Raises:
        UsageError: No prompt leaves room for an output.
    """

    def __init__(self, models: LoadedModels, config: RunConfig, prompts: Sequence[Prompt]) -> None:
        config = replace(config, check_state=0.0, batch=1, rule="auto", tree=NO_TREE, draw_log=None)
        pair = models.pair
        bench = Bench(ReferenceEngine.without_drafts(pair, config), pair, config)
        requests: list[Request] = []
        for prompt in prompts:
            with suppress(DraftproofError):  # a prompt that does not fit is not decoded
                requests.append(bench.request(prompt))
        if not requests:
            raise UsageError("no prompt leaves room for an output; costs cannot be measured")
        requests = requests[:_REQUESTS]
        plain = bench.engine.plain
        self._first = [_Output(answer=plain, request=_shortened(each, 1)) for each in requests]
        self._plain = [_Output(answer=plain, request=_shortened(r, _TOKENS)) for r in requests]
        self._drafted: list[_Output] = []
        for name, model in models.drafts.items():
            paired = replace(pair, draft=model)
            for shape in _SHAPES:
                engine = ReferenceEngine(paired, replace(config, tree=shape))
                widths = Widths.of_tree(tree_paths(shape))
                for each in requests:
                    if shape == _SHAPES[0]:
                        first = _shortened(each, 1)
                        self._first.append(
                            _Output(answer=engine.speculate, request=first, draft=name)
                        )
                    self._drafted.append(
                        _Output(
                            answer=engine.speculate,
                            request=_shortened(each, _TOKENS),
                            draft=name,
                            widths=widths,
                        )
                    )

    def measure(self, *, is_kept: bool) -> None:
        """Decode everything once."""
        for output in (*self._first, *self._plain, *self._drafted):
            generation = output.answer(output.request)
            tokens = len(generation.token_ids) - 1
            output.steps = tokens if generation.steps is None else len(generation.steps["step"])
            if is_kept:
                output.milliseconds.append(generation.seconds * 1000)

    def complete(self, costs: CostModel) -> CostModel:
        """The costs of forward passes with prefill, and with what the engine adds to each."""
        prompts = {name: self._prefill(name) for name in (None, *costs.drafts)}
        left = [
            output.median
            - _of(prompts[None], output)
            - output.steps * float(costs.target.of(1, output.context))
            for output in self._plain
        ]
        tokens = sum(output.steps for output in self._plain)
        rows, beyond = [], []
        for output in self._drafted:
            if output.widths is None or output.draft is None or not output.steps:
                continue
            step = step_cost(output.widths, costs, output.draft, output.context)
            each_step = (1, len(output.widths.levels), output.widths.nodes)
            rows.append([output.steps * often for often in each_step])
            beyond.append(
                output.median
                - _of(prompts[output.draft], output)
                - output.steps * float(step.target + step.draft)
            )
        added = nnls(np.array(rows, float), np.array(beyond))[0] if rows else np.zeros(3)
        own = prompts[None]
        return replace(
            costs,
            step_ms=float(added[0]),
            level_ms=float(added[1]),
            node_ms=float(added[2]),
            plain_ms=max(0.0, sum(left) / max(1, tokens)),
            target_prompt=own,
            draft_prompts={
                name: (max(0.0, fixed - own[0]), max(0.0, each - own[1]))
                for name, (fixed, each) in prompts.items()
                if name is not None
            },
        )

    def _prefill(self, draft: str | None) -> tuple[float, float]:
        """Milliseconds of outputs of one token: of any prompt, and of each of its tokens."""
        outputs = [output for output in self._first if output.draft == draft]
        lengths = np.array([output.prompt_tokens for output in outputs], float)
        known = np.stack([np.ones(len(lengths)), lengths], 1)
        fixed, each = nnls(known, np.array([output.median for output in outputs]))[0]
        return float(fixed), float(each)


def _of(prompt: tuple[float, float], output: _Output) -> float:
    return prompt[0] + prompt[1] * output.prompt_tokens


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
    return f"{facts['cpu']}, {counted(int(str(facts['torch_threads'])), 'thread')}"
