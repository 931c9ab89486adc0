"""Loads one tokenizer or model from its files: whole, or an error that says what is wrong."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
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
from transformers.utils.hub import cached_file

from draftproof.errors import ModelError
from draftproof.models.gguf_contents import complete_gguf, read_gguf
from draftproof.models.gptq import gptq_format, load_gptq
from draftproof.models.gptq_weights import INCOMPLETE, listed
from draftproof.models.source import ModelSource, SourceKind

_AUTO: Any = AutoModelForCausalLM


def load_tokenizer(source: ModelSource, role: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model.

    Args:
        source: Where the model is.
        role: ``target`` or ``draft``, for errors.

    Raises:
        ModelError: It cannot be loaded.
    """
    with _loading(source, role, "tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source.location,
            revision=source.revision,
            trust_remote_code=source.trust_remote_code,
            **_gguf_file(source),
        )
    return tokenizer


def load_model(
    source: ModelSource,
    role: str,
    dtype: torch.dtype | str,
    device: torch.device,
    *,
    report: Callable[[str], None],
    note: Callable[[str], None],
) -> PreTrainedModel:
    """A model in evaluation mode, every weight of which is the checkpoint's.

    Args:
        source: Where it is.
        role: ``target`` or ``draft``, for errors.
        dtype: Of the weights; ``auto`` is the checkpoint's.
        device: Where it will run.
        report: Told how packed layers are loaded.
        note: Told what a user should know of the checkpoint.

    Raises:
        ModelError: It cannot be loaded, or a weight of the architecture is missing or of another
            shape, where `transformers` would put random numbers in its place.
    """
    with _loading(source, role, "model"):
        packing = (
            None
            if source.kind is SourceKind.GGUF
            else gptq_format(source.location, source.revision)
        )
        model = (
            _load_plain(source, dtype, note)
            if packing is None
            else load_gptq(source.location, packing, dtype, device, report, source.revision)
        )
        torch.nn.Module.to(model, device)
        model.train(False)
    return model


def content_hash(source: ModelSource) -> str:
    """SHA-256 of the files that decide what a model puts out, or for a hub model of its commit.

    The files are the weights, the configuration and the tokenizer's, each with its name.
    """
    digest = hashlib.sha256()
    if source.kind is SourceKind.HUB:
        digest.update(f"{source.location}@{commit(source)}".encode())
    for path in source.files:
        with path.open("rb") as file:
            digest.update(path.name.encode())
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def commit(source: ModelSource) -> str:
    """The commit of a hub model that has been loaded."""
    path = cached_file(source.location, "config.json", revision=source.revision)
    # As the hub's cache is laid out: models--org--model/snapshots/commit/config.json.
    return Path(str(path)).parent.name


def _load_plain(
    source: ModelSource, dtype: torch.dtype | str, note: Callable[[str], None]
) -> PreTrainedModel:
    arguments: dict[str, Any] = _gguf_file(source)
    if source.kind is SourceKind.GGUF:
        arguments["quantization_config"] = GgufConfig(dequantize=True)
    else:
        arguments["use_safetensors"] = True
    model, loading = _AUTO.from_pretrained(
        source.location,
        revision=source.revision,
        dtype=dtype,
        trust_remote_code=source.trust_remote_code,
        # Checked here, where the weight can be named.
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **arguments,
    )
    require_whole(loading)
    if source.gguf_file is not None:
        complete_gguf(model, read_gguf(Path(source.location, source.gguf_file)))
    if left := sorted(loading["unexpected_keys"]):
        note(f"the architecture has no place for {listed(left)}; not loaded")
    loaded: PreTrainedModel = model
    return loaded


def require_whole(loading: Mapping[str, Any]) -> None:
    """Refuse a model with weights that are not the checkpoint's but random.

    Args:
        loading: What `transformers` tells of a model that it loaded.

    Raises:
        ModelError: Names the first weights that are missing or of another shape.
    """
    if missing := sorted(loading["missing_keys"]):
        raise ModelError(f"the checkpoint has no {listed(missing)}; {INCOMPLETE}")
    for name, found, expected in sorted(loading["mismatched_keys"]):
        raise ModelError(
            f"{name} has shape {list(found)} in the checkpoint and {list(expected)} in the "
            f"architecture; {INCOMPLETE}"
        )


def _gguf_file(source: ModelSource) -> dict[str, Any]:
    return {} if source.gguf_file is None else {"gguf_file": source.gguf_file}


@contextlib.contextmanager
def _loading(source: ModelSource, role: str, what: str) -> Iterator[None]:
    """Quiet progress bars and load reports, and errors that say what to do."""
    bars: Any = transformers.utils.logging
    were_shown, verbosity = bars.is_progress_bar_enabled(), bars.get_verbosity()
    bars.disable_progress_bar()
    # Its load report says what `require_whole` says in a line.
    bars.set_verbosity(max(verbosity, bars.ERROR))
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
        if "trust_remote_code" in str(error):
            summary = "it comes with Python code of its own, which was not run"
            advice = "read that code, and add --spec-trust-remote-code if you trust it"
        raise ModelError(
            f"--spec-{role}: cannot load the {what} of {source.name}: {summary} ({advice})"
        ) from error
    finally:
        bars.set_verbosity(verbosity)
        if were_shown:
            bars.enable_progress_bar()
