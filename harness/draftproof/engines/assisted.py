"""The assisted generation of transformers: by a draft model, and by prompt lookup.

``generate`` does not say what it accepted. What it does is watched from outside, through what it
offers to anyone: a streamer is handed the tokens of every step, and a forward hook on the target
sees the tokens that are scored. No class of the library is patched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
import transformers
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    StoppingCriteriaList,
    StopStringCriteria,
)
from transformers.generation.streamers import BaseStreamer

from draftproof.config import RunConfig
from draftproof.engines.blocks import Block, Watched
from draftproof.engines.protocol import Capability, Generation, Request
from draftproof.engines.settings import read_settings, setting
from draftproof.errors import EngineError, UsageError
from draftproof.models.loading import ModelPair
from draftproof.stopwatch import Clock, Stopwatch

_CAPABILITIES = frozenset(Capability) - {
    Capability.CANCELS,
    Capability.RUN_SETTINGS,
    Capability.NODES,
    Capability.LOG_PROBABILITIES,
    Capability.STATE_CHECKS,
    Capability.BATCHES,
    Capability.STREAMS,
}
_AT_LEAST_ONE = (lambda value: value >= 1, "give at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistedSettings:
    """Settings of ``transformers-assisted``."""

    draft_length: int = setting("tokens in a draft", 5)
    confidence: float = setting(
        "end a draft after a token whose probability is below this; 0 never does. transformers' "
        "own default is 0.4, which it then moves with the outputs if scikit-learn is installed",
        0.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupSettings:
    """Settings of ``transformers-lookup``."""

    draft_length: int = setting("tokens in a draft", 5)
    ngram: int = setting("longest run of last tokens that is looked up", 2)


class TransformersEngine:
    """``generate`` of the judge's target, alone and assisted; subclasses say by what.

    Nothing that one call leaves behind reaches the next: both models' generation settings are
    replaced for a call and restored after it, and the global random generator is forked.

    Args:
        config: `engine_options` is used.
        pair: The models that generate.
    """

    name = "transformers"
    capabilities = _CAPABILITIES

    def __init__(self, config: RunConfig, pair: ModelPair) -> None:
        self._target = pair.target.model
        # Without a draft model, the target's settings are replaced twice.
        self._draft = (pair.draft or pair.target).model
        self._tokenizer = pair.tokenizer
        self._vocabulary_size = pair.target.vocabulary_size
        self._settings: AssistedSettings | LookupSettings = self.read(config)

    @classmethod
    def read(cls, config: RunConfig) -> AssistedSettings | LookupSettings:
        """The engine's settings.

        Raises:
            UsageError: One is not valid.
        """
        raise NotImplementedError

    @classmethod
    def check_settings(cls, config: RunConfig) -> None:
        """Find invalid settings before a model is loaded."""
        cls.read(config)

    def _draft_defaults(self) -> GenerationConfig:
        """What the draft model's own generation settings are while a call lasts."""
        return _settings()

    def _assistant(self) -> dict[str, Any]:
        """The arguments that make ``generate`` speculate."""
        return {}

    def _speculation(self) -> dict[str, Any]:
        """The generation settings that make it speculate."""
        return {}

    def speculate(self, request: Request) -> Generation:
        """Decode with transformers' assisted generation.

        Raises:
            EngineError: Its steps do not add up to its output.
        """
        clock = Clock(self._target.device)
        watch = _Watch(request, clock)
        with watch.on(self._target):
            token_ids, seconds = self._generate(
                request, clock, self._speculation(), streamer=watch, **self._assistant()
            )
        watched = watch.result
        watched.require(token_ids)
        return Generation(
            token_ids=token_ids,
            stop_reason=self._stop_reason(request, token_ids),
            seconds=seconds,
            accepted=watched.accepted,
            counts=watched.counts,
            steps=watched.steps,
            watching_seconds=clock.stopped_seconds,
        )

    def plain(self, request: Request) -> Generation:
        """Decode with ``generate`` of the target alone."""
        token_ids, seconds = self._generate(request, Clock(self._target.device), {})
        return Generation(
            token_ids=token_ids,
            stop_reason=self._stop_reason(request, token_ids),
            seconds=seconds,
        )

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": f"transformers {transformers.__version__}",
            **asdict(self._settings),
        }

    def close(self) -> None:
        """Nothing to free: the models belong to the pair."""

    def _generate(
        self, request: Request, clock: Clock, speculation: dict[str, Any], **assistance: Any
    ) -> tuple[tuple[int, ...], float]:
        prompt = torch.tensor([list(request.prompt_token_ids)], device=self._target.device)
        criteria = StoppingCriteriaList()
        if request.stopping.stop_strings:
            # As `stop_strings=` they would also be given to the draft model's own call, which has
            # no tokenizer and fails.
            criteria.append(
                StopStringCriteria(self._tokenizer, list(request.stopping.stop_strings))
            )
        watch = Stopwatch(clock)
        with ExitStack() as stack:
            stack.enter_context(_own_randomness(request, self._target.device))
            stack.enter_context(_defaults(self._target, _settings()))
            stack.enter_context(_defaults(self._draft, self._draft_defaults()))
            stack.enter_context(watch.running())
            output = self._target.generate(  # type: ignore[operator]
                prompt,
                attention_mask=torch.ones_like(prompt),
                generation_config=generation_config(request, **speculation),
                stopping_criteria=criteria,
                **assistance,
            )
        return tuple(output[0, prompt.shape[1] :].tolist()), watch.seconds

    def _stop_reason(self, request: Request, token_ids: tuple[int, ...]) -> str:
        """Why ``generate`` stopped: it does not say, and checks these in this order."""
        stopping = request.stopping
        if token_ids and token_ids[-1] in stopping.stop_token_ids:
            return "stop_token"
        if len(token_ids) >= stopping.max_new_tokens:
            _, reason = stopping.cut((), token_ids)
            return str(reason)
        return "stop_string"


class AssistedEngine(TransformersEngine):
    """Assisted generation with the pair's draft model."""

    name = "transformers-assisted"
    _settings: AssistedSettings

    @classmethod
    def read(cls, config: RunConfig) -> AssistedSettings:
        return read_settings(
            AssistedSettings,
            config.engine_options,
            cls.name,
            [
                ("draft_length", *_AT_LEAST_ONE),
                ("confidence", lambda value: 0 <= value < 1, "give 0 (never) or a probability"),
            ],
        )

    def __init__(self, config: RunConfig, pair: ModelPair) -> None:
        if pair.draft is None:
            raise UsageError(f"--spec-engine {self.name} drafts with a model: give --spec-draft")
        super().__init__(config, pair)

    def _draft_defaults(self) -> GenerationConfig:
        # transformers reads these from the draft model's own settings, and by default writes a
        # draft length that it adapted back into them.
        return _settings(
            num_assistant_tokens=self._settings.draft_length,
            num_assistant_tokens_schedule="constant",
            assistant_confidence_threshold=self._settings.confidence,
        )

    def _assistant(self) -> dict[str, Any]:
        return {"assistant_model": self._draft}


class LookupEngine(TransformersEngine):
    """Assisted generation by prompt lookup."""

    name = "transformers-lookup"
    capabilities = _CAPABILITIES - {Capability.PAIR_DRAFT}
    _settings: LookupSettings

    @classmethod
    def read(cls, config: RunConfig) -> LookupSettings:
        return read_settings(
            LookupSettings,
            config.engine_options,
            cls.name,
            [("draft_length", *_AT_LEAST_ONE), ("ngram", *_AT_LEAST_ONE)],
        )

    def _speculation(self) -> dict[str, Any]:
        return {
            "prompt_lookup_num_tokens": self._settings.draft_length,
            "max_matching_ngram_size": self._settings.ngram,
        }


def generation_config(request: Request, **speculation: Any) -> GenerationConfig:
    """What a request asks of ``generate``; defaults that could change an output are undone."""
    sampling, stopping = request.sampling, request.stopping
    stops = sorted(stopping.stop_token_ids)
    settings: dict[str, Any] = {
        "max_new_tokens": stopping.max_new_tokens,
        "repetition_penalty": sampling.repetition_penalty,
        "eos_token_id": stops or None,
        "pad_token_id": stops[0] if stops else 0,
        "do_sample": not sampling.greedy,
    }
    if sampling.min_new_tokens:
        settings["min_new_tokens"] = sampling.min_new_tokens
    if not sampling.greedy:
        settings |= {
            "temperature": float(sampling.temperature),
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
        }
        if sampling.min_p:
            settings["min_p"] = sampling.min_p
    return _settings(**settings, **speculation)


def _settings(**settings: Any) -> GenerationConfig:
    return GenerationConfig(**settings)  # type: ignore[no-untyped-call]


class _Watch(BaseStreamer):
    """Sees the tokens that a target scores and the tokens that each step emits.

    Plain decoding is not watched, so the clock stops while this works.
    """

    def __init__(self, request: Request, clock: Clock) -> None:
        self._prompt = request.prompt_token_ids
        self._clock = clock
        self._emitted: list[int] = []
        self._blocks: list[Block] = []
        self._scored: tuple[int, ...] = ()
        self._has_prompt = False
        self._step_began = self._verify_began = clock.now()

    @contextmanager
    def on(self, model: PreTrainedModel) -> Iterator[None]:
        """Watch a model's forward passes."""
        hook = model.register_forward_pre_hook(self._before_forward, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()

    def put(self, value: torch.Tensor) -> None:
        """What ``generate`` hands out: the prompt first, then every step's tokens."""
        now = self._clock.now()
        if self._has_prompt:
            with self._clock.stopped():
                self._note(value, now)
        self._has_prompt = True
        self._step_began = now

    def _note(self, value: torch.Tensor, now: float) -> None:
        emitted = tuple(value.reshape(-1).tolist())
        self._blocks.append(
            Block(
                proposed=self._proposed(),
                emitted=emitted,
                draft_seconds=self._verify_began - self._step_began,
                verify_seconds=now - self._verify_began,
            )
        )
        self._emitted += emitted

    def end(self) -> None:
        """The last step was handed out."""

    @property
    def result(self) -> Watched:
        """The output's steps: the first scores the prompt with the first draft."""
        return Watched(prompt_tokens=len(self._prompt), prefill=(), blocks=tuple(self._blocks))

    def _before_forward(
        self, model: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        self._verify_began = self._clock.now()
        with self._clock.stopped():
            self._scored = self._token_ids((*arguments, *named.values()))

    def _token_ids(self, values: Iterable[Any]) -> tuple[int, ...]:
        """The one of some arguments that goes on from the output, whatever it is called.

        Empty where none does: a model that drafts for itself is also asked for drafts.
        """
        for value in values:
            if isinstance(value, torch.Tensor) and value.dim() == 2 and len(value) == 1:
                if value.is_floating_point() or value.dtype is torch.bool:
                    continue
                scored = tuple(value[0].tolist())
                if self._goes_on(scored):
                    return scored
        return ()

    def _goes_on(self, scored: tuple[int, ...]) -> bool:
        """Whether a block begins with the tokens that are in the output already."""
        known = (*self._prompt, *self._emitted)
        context = self._context()
        return scored[:context] == known[-context:]

    def _context(self) -> int:
        return len(self._prompt) if not self._blocks else 1

    def _proposed(self) -> tuple[int, ...]:
        """The tokens scored after those that are in the output already."""
        if not self._scored:
            raise EngineError(
                "transformers scored a block that does not go on from its output; this version of "
                f"it ({transformers.__version__}) cannot be watched"
            )
        return self._scored[self._context() :]


@contextmanager
def _defaults(model: PreTrainedModel, settings: GenerationConfig) -> Iterator[None]:
    """Replace a model's own generation settings, and restore them however the call ends."""
    own = model.generation_config
    model.generation_config = settings
    try:
        yield
    finally:
        model.generation_config = own


@contextmanager
def _own_randomness(request: Request, device: torch.device) -> Iterator[None]:
    """Global generators that depend on the request alone, and are restored."""
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
        torch.manual_seed(request.folded_seed(8))
        yield
