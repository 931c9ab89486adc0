"""Functions of other projects, handed their arguments: kernels to be named on the command line.

Each is imported when it is called. `draftproof docs kernels` says with which versions they were
tried and what was found.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from draftproof.kernels.contract import ChainCall, TreeCall, declare


def _logits(law: torch.Tensor) -> torch.Tensor:
    """Logits whose softmax is a law; −inf where it is 0."""
    return law.log()


@declare(rule="rejection", randomness="own", one_row=True, ragged=False)
def transformers_speculative_sampling(call: ChainCall) -> torch.Tensor:
    """`transformers.generation.utils._speculative_sampling`: one row, by torch's generator."""
    from transformers.generation.utils import _speculative_sampling

    assert call.draft_probabilities is not None
    length = int(call.draft_lengths[0])
    tokens, _ = _speculative_sampling(
        call.draft_tokens[:, :length],
        _logits(call.draft_probabilities[:, :length]),
        length,
        _logits(call.target_probabilities[:, : length + 1]),
    )
    return torch.as_tensor(tokens)


@declare(rule="rejection", randomness="own", greedy_rows=True)
def vllm_rejection_sample(call: ChainCall) -> torch.Tensor:
    """`vllm.v1.sample.rejection_sampler.rejection_sample`: batched, greedy rows by temperature.

    Bonus tokens are drawn here, as that function takes them from its caller.
    """
    if call.draft_tokens.device.type == "cpu":
        _vllm_on_cpu()
    from vllm.v1.sample.rejection_sampler import rejection_sample  # type: ignore[import-not-found]

    device = call.draft_tokens.device
    rows = torch.arange(len(call.draft_tokens), device=device)
    lengths = call.draft_lengths
    inside = torch.arange(call.places, device=device)[None] < lengths[:, None]
    last = call.target_probabilities[rows, lengths]
    # By exponential races, which do not refuse the whole batch for one row that is NaN.
    drawn = (last / torch.empty_like(last).exponential_()).argmax(-1)
    bonus = torch.where(call.greedy, last.argmax(-1), drawn)
    draft = call.draft_probabilities
    laws = call.target_probabilities[:, : call.places]
    return torch.as_tensor(
        rejection_sample(
            call.draft_tokens[inside].to(torch.int32).contiguous(),
            lengths.tolist(),
            call.places,
            lengths.cumsum(0).to(torch.int32),
            None if draft is None else draft[inside].contiguous(),
            _logits(laws[inside]).contiguous(),
            bonus[:, None].to(torch.int32).contiguous(),
            _vllm_metadata(call),
        )
    ).long()


@declare(rule="point-mass", randomness="own", greedy_rows=True)
def vllm_rejection_sample_ngram(call: ChainCall) -> torch.Tensor:
    """The same without draft probabilities: deterministic drafts."""
    return vllm_rejection_sample(call)


@functools.cache
def _vllm_on_cpu() -> None:
    """Do what vLLM's CPU worker does when it starts: put its C++ functions in Triton's place."""
    import vllm._custom_ops  # type: ignore[import-not-found]  # noqa: F401
    from vllm.platforms import current_platform  # type: ignore[import-not-found]

    current_platform.register_triton_kernel_overrides()


class _VllmMetadata:
    """What `rejection_sample` reads of vLLM's SamplingMetadata."""

    def __init__(self, temperature: torch.Tensor) -> None:
        self.temperature = temperature
        self.all_greedy = bool((temperature == 0).all())
        self.all_random = bool((temperature > 0).all())
        self.generators: dict[int, torch.Generator] = {}


def _vllm_metadata(call: ChainCall) -> Any:
    return _VllmMetadata(torch.where(call.greedy, 0.0, 1.0))


@declare(rule="rejection", randomness="generator", device="cuda", ragged=False)
def flashinfer_chain_speculative_sampling(call: ChainCall) -> torch.Tensor:
    """`flashinfer.sampling.chain_speculative_sampling`: batched, of one length, on a GPU."""
    from flashinfer.sampling import (  # type: ignore[import-not-found]
        chain_speculative_sampling,
    )

    assert call.draft_probabilities is not None
    tokens, _, _ = chain_speculative_sampling(
        call.draft_probabilities.contiguous(),
        call.draft_tokens.to(torch.int32),
        call.target_probabilities.contiguous(),
        generator=call.generator,
    )
    return torch.as_tensor(tokens).long()


@declare(shape="tree", rule="point-mass", device="cuda")
def sglang_tree_speculative_sampling_target_only(call: TreeCall) -> Any:
    """`sgl_kernel.tree_speculative_sampling_target_only`: deterministic trees, on a GPU."""
    from sgl_kernel import (  # type: ignore[import-not-found]
        tree_speculative_sampling_target_only,
    )

    assert call.uniforms is not None
    width = call.tokens.shape[1] + 1
    tree = _SglangTree(call)
    tree_speculative_sampling_target_only(
        **tree.arguments,
        uniform_samples=call.uniforms[:, :width].contiguous(),
        uniform_samples_for_final_sampling=call.uniforms[:, width - 1].contiguous(),
        target_probs=call.target_probabilities.contiguous(),
        draft_probs=torch.zeros_like(call.target_probabilities),
        threshold_single=1.0,
        threshold_acc=1.0,
        deterministic=True,
    )
    return tree.emitted()


@declare(shape="tree", rule="point-mass", device="cuda")
def sglang_verify_tree_greedy(call: TreeCall) -> Any:
    """`sgl_kernel.verify_tree_greedy`: the argmax of every node is verified, on a GPU.

    Its law is the rule's where the target's laws are one-hot, and nowhere else.
    """
    from sgl_kernel import verify_tree_greedy

    tree = _SglangTree(call)
    verify_tree_greedy(**tree.arguments, target_predict=call.target_probabilities.argmax(-1))
    return tree.emitted()


class _SglangTree:
    """The arguments that both of SGLang's functions take, and what they write their results to."""

    def __init__(self, call: TreeCall) -> None:
        rows, nodes = call.tokens.shape
        device, width = call.tokens.device, nodes + 1
        index = torch.arange(rows * width, device=device).reshape(rows, width)
        self.arguments = {
            "predicts": torch.full((rows * width,), -1, dtype=torch.int32, device=device),
            "accept_index": torch.full((rows, width), -1, dtype=torch.int32, device=device),
            "accept_token_num": torch.zeros(rows, dtype=torch.int32, device=device),
            "candidates": torch.nn.functional.pad(call.tokens, (1, 0)).contiguous(),
            "retrive_index": index,
            "retrive_next_token": call.first_children(),
            "retrive_next_sibling": call.next_siblings(),
        }

    def emitted(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The emitted tokens, and the accepted lengths that were written."""
        kept = self.arguments["accept_index"].long()
        tokens = self.arguments["predicts"].long()[kept.clamp_min(0)]
        return torch.where(kept >= 0, tokens, -1), self.arguments["accept_token_num"]
