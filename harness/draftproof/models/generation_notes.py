"""Notes on a checkpoint's own generation settings: which of them a run does not use."""

from __future__ import annotations

from typing import Any

from transformers import GenerationConfig

from draftproof.config import Sampling

_OF_THE_RUN = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "min_new_tokens": "min_new_tokens",
}
"""Settings that a run has, too: the fields of `Sampling`."""
_NEUTRAL: dict[str, Any] = {
    "diversity_penalty": 0.0,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "frequency_penalty": 0.0,
    "guidance_scale": 1.0,
    "length_penalty": 1.0,
    "min_length": 0,
    "min_p": 0.0,
    "no_repeat_ngram_size": 0,
    "num_beam_groups": 1,
    "num_beams": 1,
    "penalty_alpha": 0.0,
    "presence_penalty": 0.0,
    "repetition_penalty": 1.0,
    "temperature": 1.0,
    "top_h": 1.0,
    "top_p": 1.0,
    "typical_p": 1.0,
}
"""Values with which a setting changes nothing."""
_NO_PART_OF_AN_OUTPUT = (
    "assistant_",
    "bos_token_id",
    "cache_",
    "compile_",
    "continuous_batching",
    "decoder_start_",
    "disable_compile",
    "do_sample",
    "early_stopping",
    "eos_token_id",
    "is_assistant",
    "low_memory",
    "max_cache_len",
    "max_length",
    "max_matching_",
    "max_new_tokens",
    "max_time",
    "num_assistant_",
    "num_return_sequences",
    "output_",
    "pad_token_id",
    "prefill_",
    "prompt_lookup_",
    "remove_invalid_values",
    "renormalize_logits",
    "return_",
    "speculation_type",
    "target_lookbehind",
    "token_healing",
    "transformers_version",
    "use_cache",
    "use_mtp",
    "_",
)
"""Beginnings of settings that say how something is computed or returned, or where it ends; stop
tokens are used, and the run has a length of its own."""
_SAMPLING_ALONE = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "top_h",
    "epsilon_cutoff",
    "eta_cutoff",
)


def generation_notes(own: GenerationConfig | None, sampling: Sampling) -> tuple[str, ...]:
    """A line that names the checkpoint's generation settings that this run does not use, if any.

    A run decodes as its own options say. A setting of the checkpoint that would change the output,
    and of which the run has another value or none, makes it another model's output than that of
    ``generate`` on the same checkpoint.

    Args:
        own: The checkpoint's; ones that nobody has heard of are named, too.
        sampling: What the run uses.
    """
    if own is None:
        return ()
    draws = bool(own.do_sample)
    unused = []
    for name, value in sorted(own.to_dict().items()):
        if name.startswith(_NO_PART_OF_AN_OUTPUT) or _is_unset(value):
            continue
        if value == _NEUTRAL.get(name) or (name in _SAMPLING_ALONE and not draws):
            continue
        used = getattr(sampling, _OF_THE_RUN[name]) if name in _OF_THE_RUN else None
        if used != value:
            unused.append(f"{name} {value} (this run: {'none' if used is None else used})")
    if draws and sampling.greedy:
        unused.insert(0, "do_sample (this run: temperature 0)")
    if not unused:
        return ()
    return (
        "its generation settings are not used: "
        f"{', '.join(unused)}; options of the run decide, and the output is that of the model "
        "without them",
    )


def _is_unset(value: Any) -> bool:
    """Whether a setting asks for nothing; 0 can be a token's id."""
    return value is None or value is False or value in ([], {}, "")
