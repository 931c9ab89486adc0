"""llama.cpp through llama-cpp-python, with a draft model or prompt lookup.

Its ``Llama`` asks a hook for drafts: each call hands over every token so far, so that between two
calls it is known exactly which proposed tokens were emitted. What it draws it draws from the
target's own law, and keeps a proposed token if it is the one drawn.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from draftproof.config import RunConfig
from draftproof.engines.blocks import Block, Watched
from draftproof.engines.protocol import Capability, Generation, Request
from draftproof.engines.settings import read_settings, setting
from draftproof.errors import EngineError, ModelError, UsageError
from draftproof.models.loading import ModelPair

if TYPE_CHECKING:
    from llama_cpp import Llama

_LOOKUP = "lookup"


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaCppSettings:
    """Settings of ``llama-cpp``."""

    model: str = setting("the target, a .gguf file")
    draft: str = setting(f"the draft model, a .gguf file, or '{_LOOKUP}'", _LOOKUP)
    draft_length: int = setting("tokens in a draft", 5)
    ngram: int = setting("longest run of last tokens that is looked up", 2)
    context: int = setting("tokens that the context holds", 2048)
    threads: int = setting("threads; 0 leaves the choice to llama.cpp", 0)
    logits_all: bool = setting(
        "have the library keep every token's logits, without which it dies of drafts beyond 512 "
        "tokens; takes 4 bytes times vocabulary times context",
        False,
    )


class LlamaCppEngine:
    """Decodes with ``llama_cpp.Llama.generate``; plainly, the same without drafts.

    Each output starts from an empty cache, so that none depends on what ran before.

    Args:
        config: `engine_options` is used.
        pair: Its tokenizer must be the GGUF's.

    Raises:
        UsageError: llama-cpp-python is not installed, or a setting is not valid.
        ModelError: A file cannot be loaded, or has another vocabulary.
    """

    name = "llama-cpp"
    capabilities = frozenset(
        {
            Capability.PLAIN,
            Capability.SAMPLING,
            Capability.STOP_TOKENS,
            Capability.STOP_STRINGS,
            Capability.TOKEN_PROMPTS,
            Capability.SEEDS,
            Capability.DRAFT_LENGTH,
            Capability.ACCEPTED,
            Capability.COUNTS,
            Capability.STEPS,
        }
    )

    def __init__(self, config: RunConfig, pair: ModelPair) -> None:
        self._settings = settings = self.read(config)
        if settings.draft == _LOOKUP:
            proposer: Any = _lookup(settings)
        else:
            proposer = _DraftModel(_load(settings, settings.draft), settings.draft_length)
            _require_same_tokens(proposer.llama, pair, settings.draft)
        self._hook = _Hook(proposer)
        self._llama = _load(settings, settings.model, draft_model=self._hook)
        _require_same_tokens(self._llama, pair, settings.model)

    @classmethod
    def read(cls, config: RunConfig) -> LlamaCppSettings:
        """The engine's settings.

        Raises:
            UsageError: One is not valid.
        """
        return read_settings(
            LlamaCppSettings,
            config.engine_options,
            cls.name,
            [
                ("model", _is_gguf, "is not a .gguf file"),
                (
                    "draft",
                    lambda value: value == _LOOKUP or _is_gguf(value),
                    f"is neither a .gguf file nor '{_LOOKUP}'",
                ),
                ("draft_length", lambda value: value >= 1, "give at least 1"),
                ("ngram", lambda value: value >= 1, "give at least 1"),
                ("context", lambda value: value >= 2, "give at least 2"),
                ("threads", lambda value: value >= 0, "give 0 or more"),
            ],
        )

    @classmethod
    def check_settings(cls, config: RunConfig) -> None:
        """Find invalid settings, and a library that is not there, before a model is loaded."""
        cls.read(config)
        _require_library()

    def speculate(self, request: Request) -> Generation:
        """Decode with drafts.

        Raises:
            EngineError: The request does not fit into the context.
        """
        self._hook.start(request)
        token_ids, reason, seconds = self._decode(request)
        watched = self._hook.finish(token_ids)
        watched.require(token_ids)
        return Generation(
            token_ids=token_ids,
            stop_reason=reason,
            seconds=seconds,
            accepted=watched.accepted,
            counts=watched.counts,
            steps=watched.steps,
        )

    def plain(self, request: Request) -> Generation:
        """Decode without drafts."""
        self._hook.stop()
        token_ids, reason, seconds = self._decode(request)
        return Generation(token_ids=token_ids, stop_reason=reason, seconds=seconds)

    def describe(self) -> dict[str, Any]:
        settings = {
            **asdict(self._settings),
            "model": Path(self._settings.model).name,
            "draft": Path(self._settings.draft).name,
        }
        return {
            "name": self.name,
            "version": f"llama-cpp-python {metadata.version('llama-cpp-python')}",
            **settings,
        }

    def close(self) -> None:
        """Free both models."""
        self._llama.close()
        self._hook.close()

    def _decode(self, request: Request) -> tuple[tuple[int, ...], str, float]:
        """The tokens that the generator hands out up to where the request ends."""
        prompt, stopping = request.prompt_token_ids, request.stopping
        if len(prompt) + stopping.max_new_tokens > self._llama.n_ctx():
            raise EngineError(
                f"{len(prompt)} tokens of prompt and {stopping.max_new_tokens} new ones do not fit "
                f"into the context of {self._llama.n_ctx()}; give --spec-engine-option context=N"
            )
        began = time.perf_counter()
        self._llama.reset()
        self._llama.set_seed(request.folded_seed())
        output: tuple[int, ...] = ()
        for token in self._tokens(request):
            committed, reason = stopping.cut(output, (token,))
            output += committed
            if reason is not None:
                return output, str(reason), time.perf_counter() - began
        raise EngineError(f"llama.cpp ended after {len(output)} tokens without a reason")

    def _tokens(self, request: Request) -> Iterator[int]:
        tokens: Iterator[int] = self._llama.generate(
            list(request.prompt_token_ids),
            top_k=0,
            top_p=1.0,
            min_p=0.0,
            typical_p=1.0,
            temp=float(request.sampling.temperature),
            repeat_penalty=1.0,
        )
        return tokens


class _DraftModel:
    """Proposes the most probable tokens of a second model, one after another."""

    def __init__(self, llama: Llama, length: int) -> None:
        self.llama = llama
        self._length = length

    def __call__(self, input_ids: np.ndarray, /, **_: Any) -> np.ndarray:
        # A shared prefix of the last call is in the cache already; `generate` finds it.
        room = self.llama.n_ctx() - len(input_ids)
        length = min(self._length, room)
        proposed: list[int] = []
        if length > 0:
            greedy = self.llama.generate(
                input_ids.tolist(), top_k=0, top_p=1.0, min_p=0.0, temp=0.0, repeat_penalty=1.0
            )
            for token in greedy:
                proposed.append(token)
                if len(proposed) == length:
                    break
        return np.array(proposed, dtype=np.intc)

    def close(self) -> None:
        """Free the model."""
        self.llama.close()


class _Hook:
    """What ``Llama`` asks for drafts; keeps what it proposed and what was emitted after it."""

    def __init__(self, proposer: Any) -> None:
        self._proposer = proposer
        self._is_on = False
        self._prompt_tokens = 0
        self._calls: list[tuple[int, tuple[int, ...], float, float]] = []

    def start(self, request: Request) -> None:
        """Propose from here on, for one request."""
        self._is_on = True
        self._prompt_tokens = len(request.prompt_token_ids)
        self._calls = []
        if isinstance(self._proposer, _DraftModel):
            self._proposer.llama.reset()

    def stop(self) -> None:
        """Propose nothing from here on."""
        self._is_on = False

    def close(self) -> None:
        if isinstance(self._proposer, _DraftModel):
            self._proposer.close()

    def __call__(self, input_ids: np.ndarray, /, **named: Any) -> np.ndarray:
        if not self._is_on:
            return np.array([], dtype=np.intc)
        began = time.perf_counter()
        proposed = self._proposer(input_ids, **named)
        ended = time.perf_counter()
        emitted = len(input_ids) - self._prompt_tokens
        self._calls.append((emitted, tuple(proposed.tolist()), began, ended))
        return np.asarray(proposed)

    def finish(self, output: tuple[int, ...]) -> Watched:
        """The output as the steps between the calls."""
        now = time.perf_counter()
        # The last call was made for a step of which nothing was asked for any more, where the
        # output ended with the token before it.
        calls = [call for call in self._calls if call[0] < len(output)]
        if not calls:
            return Watched(prompt_tokens=self._prompt_tokens, prefill=output, blocks=())
        ends = [call[0] for call in calls[1:]] + [len(output)]
        next_began = [call[2] for call in calls[1:]] + [now]
        blocks = tuple(
            Block(
                proposed=proposed,
                emitted=output[start:end],
                draft_seconds=ended - began,
                verify_seconds=after - ended,
            )
            for (start, proposed, began, ended), end, after in zip(
                calls, ends, next_began, strict=True
            )
        )
        return Watched(
            prompt_tokens=self._prompt_tokens, prefill=output[: calls[0][0]], blocks=blocks
        )


def _lookup(settings: LlamaCppSettings) -> Any:
    from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

    return LlamaPromptLookupDecoding(
        max_ngram_size=settings.ngram, num_pred_tokens=settings.draft_length
    )


def _load(settings: LlamaCppSettings, path: str, draft_model: Any = None) -> Llama:
    _require_library()
    from llama_cpp import Llama

    try:
        return Llama(
            model_path=path,
            n_ctx=settings.context,
            n_threads=settings.threads or None,
            n_threads_batch=settings.threads or None,
            draft_model=draft_model,
            logits_all=settings.logits_all and draft_model is not None,
            verbose=False,
        )
    except (ValueError, OSError) as error:
        raise ModelError(f"--spec-engine-option: llama.cpp cannot load {path}: {error}") from error


def _require_library() -> None:
    try:
        import llama_cpp  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "--spec-engine llama-cpp needs llama-cpp-python; install it with "
            f"pip install 'draftproof[llamacpp]' ({error})"
        ) from error


def _require_same_tokens(llama: Llama, pair: ModelPair, path: str) -> None:
    """Verify that a GGUF's ids are those of the judge's tokenizer."""
    known = pair.target.vocabulary_size
    if llama.n_vocab() < known:
        raise ModelError(
            f"{path} has {llama.n_vocab()} tokens and --spec-target {known}; the judge and the "
            "engine must have one tokenizer"
        )
    special = set(pair.tokenizer.all_special_ids)
    for token in range(known):
        if token in special:
            continue
        with suppress(UnicodeDecodeError):
            theirs = llama.detokenize([token], special=True).decode()
            ours = pair.decode([token])
            # Of unused tokens, and of texts of more than 32 bytes, the library reads nothing.
            if theirs and theirs.strip() != ours.strip():
                raise ModelError(
                    f"{path}: token {token} is {theirs!r}, and of --spec-target {ours!r}; the "
                    "judge and the engine must have one tokenizer"
                )


def _is_gguf(path: str) -> bool:
    return Path(path).suffix == ".gguf" and Path(path).is_file()
