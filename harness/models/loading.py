"""Loads a target and a draft model with their tokenizer, and checks that they fit together."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from harness.config import RunConfig
from harness.errors import ModelError
from harness.models.gptq import gptq_format, load_gptq
from harness.models.hugging_face import HuggingFaceLM
from harness.models.source import ModelSource, SourceKind, model_source
from harness.models.vocabulary import require_same_vocabulary

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPair:
    """A target and a draft model that share one vocabulary.

    Attributes:
        target: The model whose output must not change.
        draft: The model that proposes.
        tokenizer: The target's.
        stop_token_ids: Ids that end an output.
        descriptions: What was loaded, by role: name, content hash, parameters, dtype, device.
    """

    target: HuggingFaceLM
    draft: HuggingFaceLM
    tokenizer: PreTrainedTokenizerBase
    stop_token_ids: frozenset[int]
    descriptions: dict[str, dict[str, Any]] = field(default_factory=dict)

    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of what a user says, in the tokenizer's chat template where it has one."""
        if self.tokenizer.chat_template is None:
            return tuple(self.tokenizer(text)["input_ids"])
        messages = [{"role": "user", "content": text}]
        shaped = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return tuple(self.tokenizer(shaped, add_special_tokens=False)["input_ids"])

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of some token ids, special tokens included."""
        return str(self.tokenizer.decode(list(token_ids), clean_up_tokenization_spaces=False))


def load_pair(config: RunConfig, report: Callable[[str], None] = _LOG.info) -> ModelPair:
    """The pair that a run's settings name.

    Args:
        config: `target`, `draft`, `dtype` and `device` are used.
        report: Told what is being loaded, in a line each.

    Raises:
        ModelError: A model cannot be found or loaded, or the two do not share a vocabulary.
    """
    device = choose_device(config.device)
    sources = {
        "target": model_source(config.target, "target"),
        "draft": model_source(config.draft, "draft"),
    }
    tokenizers = {role: _load_tokenizer(source, role) for role, source in sources.items()}
    vocabularies = {role: tokenizer.get_vocab() for role, tokenizer in tokenizers.items()}
    require_same_vocabulary(vocabularies["target"], vocabularies["draft"])
    vocabulary_size = max(vocabularies["target"].values()) + 1
    models: dict[str, PreTrainedModel] = {}
    descriptions: dict[str, dict[str, Any]] = {}
    for role, source in sources.items():
        dtype = choose_dtype(config.dtype, source, device)
        report(f"loading {role} {source.name} ({dtype} on {device})")
        models[role] = _load_model(source, role, dtype, device, report)
        descriptions[role] = _describe(source, models[role])
    return ModelPair(
        target=HuggingFaceLM(models["target"], vocabulary_size),
        draft=HuggingFaceLM(models["draft"], vocabulary_size),
        tokenizer=tokenizers["target"],
        stop_token_ids=_stop_token_ids(models["target"], tokenizers["target"]),
        descriptions=descriptions,
    )


def choose_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is cuda, mps or cpu, the first that is there.

    Raises:
        ModelError: The device is not there.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, there in present.items() if there)
    if not present[name]:
        raise ModelError(
            f"--spec-device {name}: PyTorch {torch.__version__} sees no such device here; "
            "use --spec-device auto"
        )
    return torch.device(name)


def choose_dtype(name: str, source: ModelSource, device: torch.device) -> torch.dtype | str:
    """The weights' type; ``auto`` is the checkpoint's own, where it has one.

    The built-in pair and, on a CPU, a GGUF (whose weights are unpacked) run in float32, in which
    scoring a token in blocks of different widths differs least.
    """
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if source.kind is SourceKind.BUILTIN:
        return torch.float32
    if source.kind is SourceKind.GGUF:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return "auto"


def _load_tokenizer(source: ModelSource, role: str) -> PreTrainedTokenizerBase:
    with _loading(source, role, "tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source.location, **_gguf_file(source)
        )
    return tokenizer


def _load_model(
    source: ModelSource,
    role: str,
    dtype: torch.dtype | str,
    device: torch.device,
    report: Callable[[str], None],
) -> PreTrainedModel:
    arguments: dict[str, Any] = _gguf_file(source)
    if source.kind is SourceKind.GGUF:
        arguments["quantization_config"] = GgufConfig(dequantize=True)
    else:
        arguments["use_safetensors"] = True
    with _loading(source, role, "model"):
        packing = None if source.kind is SourceKind.GGUF else gptq_format(source.location)
        model: PreTrainedModel = (
            load_gptq(source.location, packing, dtype, device, report)
            if packing is not None
            else AutoModelForCausalLM.from_pretrained(
                source.location, dtype=dtype, trust_remote_code=False, **arguments
            )
        )
        torch.nn.Module.to(model, device)
        model.train(False)
    return model


def _gguf_file(source: ModelSource) -> dict[str, Any]:
    return {} if source.gguf_file is None else {"gguf_file": source.gguf_file}


@contextlib.contextmanager
def _loading(source: ModelSource, role: str, what: str) -> Iterator[None]:
    """Quiet progress bars, and errors that say what to do."""
    bars: Any = transformers.utils.logging
    were_shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    except ModelError as error:
        raise ModelError(
            f"--spec-{role}: cannot load the {what} of {source.name}: {error}"
        ) from error
    except Exception as error:
        # Whatever a checkpoint can be wrong in surfaces here, in dozens of exception types.
        summary = next(iter(str(error).strip().splitlines()), type(error).__name__)
        advice = (
            "if the hub cannot be reached, download the model elsewhere and give its folder"
            if source.kind is SourceKind.HUB
            else "check that the files are whole and that transformers knows the architecture"
        )
        raise ModelError(
            f"--spec-{role}: cannot load the {what} of {source.name}: {summary} ({advice})"
        ) from error
    finally:
        if were_shown:
            bars.enable_progress_bar()


def _stop_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    generation = getattr(model, "generation_config", None)
    stops = getattr(generation, "eos_token_id", None)
    listed = [] if stops is None else [stops] if isinstance(stops, int) else list(stops)
    if tokenizer.eos_token_id is not None:
        listed.append(tokenizer.eos_token_id)
    return frozenset(listed)


def _describe(source: ModelSource, model: PreTrainedModel) -> dict[str, Any]:
    return {
        "name": source.name if source.kind is not SourceKind.GGUF else source.gguf_file,
        "kind": str(source.kind),
        "sha256": _content_hash(source, model),
        "architecture": type(model).__name__,
        "parameters": model.num_parameters(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
    }


def _content_hash(source: ModelSource, model: PreTrainedModel) -> str:
    """A hash of the weight files, or for a hub model of its commit."""
    digest = hashlib.sha256()
    if source.kind is SourceKind.HUB:
        digest.update(f"{source.location}@{getattr(model.config, '_commit_hash', None)}".encode())
    for path in source.files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
