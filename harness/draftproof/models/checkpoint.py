"""Loads one tokenizer or model from its files: whole, or an error that says what is wrong."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME
from transformers.utils.hub import cached_file

from draftproof.errors import ModelError
from draftproof.models.gguf_contents import complete_gguf, read_gguf, require_known_tensors
from draftproof.models.gptq import gptq_format, load_gptq
from draftproof.models.processor import free_bytes, is_slow_in, slow_note
from draftproof.models.source import ModelSource, SourceKind, require_safe_names
from draftproof.models.stored_weights import (
    require_language_model,
    require_no_loss,
    require_unpacked,
    require_whole,
    stored_weights,
)
from draftproof.models.unpacked import UnpackedWeights, weights_cache

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
        if source.gguf_file is not None:
            # Of which some versions of transformers take what GPT-2 had.
            stops = read_gguf(Path(source.location, source.gguf_file)).stops
            if stops:
                tokenizer.eos_token = tokenizer.convert_ids_to_tokens(stops[0])
    return tokenizer


def load_model(
    source: ModelSource,
    role: str,
    dtype: torch.dtype | str,
    device: torch.device,
    *,
    spread: bool = False,
    report: Callable[[str], None],
    note: Callable[[str], None],
) -> PreTrainedModel:
    """A model in evaluation mode, every weight of which is the checkpoint's.

    Args:
        source: Where it is.
        role: ``target`` or ``draft``, for errors.
        dtype: Of the weights; ``auto`` is the checkpoint's, or float32 where the processor has no
            instructions for that.
        device: Where it will run.
        spread: Whether its layers are spread over all accelerators instead.
        report: Told how packed layers are loaded, and whether what they unpack to is kept.
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
        if packing is None:
            model = _load_plain(source, dtype, device, report, note, spread=spread)
        elif spread:
            raise ModelError(
                "the layers of a GPTQ checkpoint cannot be spread over devices here; "
                "use --spec-device cuda, or an unquantised checkpoint"
            )
        else:
            model = load_gptq(source.location, packing, dtype, device, report, source.revision)
        if not spread:
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
    # As the hub's cache is laid out: models--org--model/snapshots/commit/config.json.
    return _folder(source).name


def _folder(source: ModelSource) -> Path:
    """Where the files of a model that has been loaded are."""
    if source.kind is not SourceKind.HUB:
        return Path(source.location)
    return Path(str(cached_file(source.location, "config.json", revision=source.revision))).parent


def _quick(
    dtype: torch.dtype | str | None,
    is_free: bool,
    source: ModelSource,
    device: torch.device,
    note: Callable[[str], None],
) -> torch.dtype | str:
    """The type that a model is loaded in: not one that the processor emulates, if it can be helped.

    Args:
        dtype: What was asked for, or else the checkpoint's own; None where it names none.
        is_free: Whether nothing was asked for.
        source: The checkpoint: of one whose size is known, float32 may be seen to fit.
        device: Where it will run.
        note: Told what was chosen, or what the choice costs.
    """
    if not isinstance(dtype, torch.dtype) or not is_slow_in(dtype, device):
        return "auto" if is_free or dtype is None else dtype
    size = sum(path.stat().st_size for path in source.files if path.suffix == ".safetensors")
    if is_free and 0 < _WIDENED * size < free_bytes(device):
        name = str(dtype).removeprefix("torch.")
        note(f"runs in float32, since this processor has no instructions for its own {name}")
        return torch.float32
    note(slow_note(dtype))
    return "auto" if is_free else dtype


_WIDENED = 4
"""Free memory that float32 is given, in sizes of the half-precision weights: twice what they take,
since another model and its caches need some too."""


def _load_plain(
    source: ModelSource,
    dtype: torch.dtype | str,
    device: torch.device,
    report: Callable[[str], None],
    note: Callable[[str], None],
    *,
    spread: bool,
) -> PreTrainedModel:
    arguments: dict[str, Any] = _gguf_file(source)
    if spread:
        arguments["device_map"] = "auto"
    common = {"revision": source.revision, "trust_remote_code": source.trust_remote_code}
    location, unpacked = source.location, None
    if source.gguf_file is not None and (cache := weights_cache()) is not None:
        unpacked = UnpackedWeights(cache, content_hash(source), dtype)
        if (kept := unpacked.find()) is not None:
            report(f"{source.gguf_file} was unpacked before: its weights are in {kept}")
            location, unpacked = str(kept), None
            del arguments["gguf_file"]
    config: PreTrainedConfig = AutoConfig.from_pretrained(location, **common, **arguments)
    own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if not own_code:
        require_language_model(config, [kind.__name__ for kind in _AUTO._model_mapping])
    stated = getattr(config, "quantization_config", None) or {}
    if source.gguf_file is None and not stated:
        named = str(config.get_text_config(decoder=True).dtype).removeprefix("torch.")
        own = getattr(torch, named, None)
        dtype = _quick(own if dtype == "auto" else dtype, dtype == "auto", source, device, note)
    contents = None
    if source.gguf_file is not None:
        contents = read_gguf(Path(source.location, source.gguf_file))
        require_known_tensors(contents)
    else:
        _require_safe_index(source)
    if "gguf_file" in arguments:
        arguments["quantization_config"] = GgufConfig(dequantize=True)
    else:
        arguments["use_safetensors"] = True
    model, loading = _AUTO.from_pretrained(
        location,
        dtype=dtype,
        # Checked here, where the weight can be named.
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **common,
        **arguments,
    )
    require_whole(loading, config.architectures or (), type(model).__name__)
    if contents is not None:
        complete_gguf(model, contents)
        if unpacked is not None:
            report(unpacked.keep(model))
        if contents.stops:
            model.generation_config.eos_token_id = sorted({*contents.stops})
    else:
        stored = stored_weights(_folder(source))
        method = dict(stated).get("quant_method", "a method without a name") if stated else None
        for line in (
            *require_unpacked(model, stored, method),
            *require_no_loss(model, stored, loading["unexpected_keys"]),
        ):
            note(line)
    loaded: PreTrainedModel = model
    return loaded


def _require_safe_index(source: ModelSource) -> None:
    """Refuse a hub model whose index of shards names other files than safetensors.

    Raises:
        ModelError: It does.
    """
    if source.kind is SourceKind.HUB:
        name = SAFE_WEIGHTS_INDEX_NAME
        index = cached_file(
            source.location,
            name,
            revision=source.revision,
            _raise_exceptions_for_missing_entries=False,
        )
        if index is not None:
            content = Path(index).read_text(encoding="utf-8", errors="replace")
            require_safe_names(content, f"{name} of {source.name}")


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
        if isinstance(error, ImportError):
            advice = (
                "the checkpoint's format needs a package that is missing or too old here; install "
                "it, or give an unquantised checkpoint of the same model"
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
