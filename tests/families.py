"""Tiny configurations of model families: those that score trees, and those that are refused.

The tests run on them, and docs/make_families.py makes its tables from them.
"""

from dataclasses import dataclass, field

import torch

VOCABULARY = 24
WINDOW = 5
"""Tokens a sliding window holds: far fewer than the contexts that are scored."""

_COMMON = {
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
    # A random model whose head is its embeddings repeats its last token for ever.
    "tie_word_embeddings": False,
}
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.6,
}
_LLAMA = _SIZES | {"intermediate_size": 24, "num_key_value_heads": 2}
_HEADS = _LLAMA | {"head_dim": 4}
_GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "initializer_range": 0.6,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
_LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_LATENT = _SIZES | {
    "intermediate_size": 24,
    "num_key_value_heads": 4,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
_BOTH_KINDS = {
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention"],
}
_CAPPED = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of models, and a configuration of it that a test can afford.

    Attributes:
        name: As people call it.
        kind: `transformers`' ``model_type``.
        arguments: Of its configuration.
        facts: What is special about scoring a tree with it.
    """

    name: str
    kind: str
    arguments: dict = field(default_factory=dict)
    facts: str = ""

    @property
    def slides(self):
        return "sliding" in self.facts

    def config(self):
        from transformers import AutoConfig

        return AutoConfig.for_model(self.kind, **_COMMON | self.arguments)

    def model(self, attention="eager", seed=0):
        """A random model of the family, in float32."""
        from transformers import AutoModelForCausalLM

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(
                self.config(), attn_implementation=attention, dtype=torch.float32
            )
        return model.eval()

    def near_model(self, noise):
        """The model of `model` with noise on its weights, a draft model for it."""
        model = self.model()
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for weight in model.parameters():
                weight += (
                    noise * weight.abs().mean() * torch.randn(weight.shape, generator=generator)
                )
        return model

    def implementations(self):
        """Those of the attention implementations that the family has."""
        from transformers import AutoModelForCausalLM

        architecture = AutoModelForCausalLM._model_mapping[type(self.config())]
        return ("eager", "sdpa") if architecture._supports_sdpa else ("eager",)


WORKING = (
    Family(name="Llama, TinyLlama, Yi", kind="llama", arguments=_LLAMA),
    Family(
        name="Mistral",
        kind="mistral",
        arguments=_LLAMA | {"sliding_window": WINDOW},
        facts="sliding windows",
    ),
    Family(name="Qwen2, Qwen2.5", kind="qwen2", arguments=_LLAMA),
    Family(
        name="Qwen2, Qwen2.5 with windows",
        kind="qwen2",
        arguments=_LLAMA
        | {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
        facts="sliding and full layers",
    ),
    Family(name="Qwen3", kind="qwen3", arguments=_HEADS),
    Family(name="Gemma", kind="gemma", arguments=_HEADS),
    Family(
        name="Gemma 2",
        kind="gemma2",
        arguments=_HEADS | _BOTH_KINDS | _CAPPED | {"query_pre_attn_scalar": 4},
        facts="sliding and full layers, soft-capped logits",
    ),
    Family(
        name="Gemma 3, text",
        kind="gemma3_text",
        arguments=_HEADS | _BOTH_KINDS | _CAPPED | {"query_pre_attn_scalar": 4},
        facts="sliding and full layers with rotary embeddings of their own, soft-capped logits",
    ),
    Family(
        name="Gemma 3",
        kind="gemma3",
        arguments={
            "text_config": _COMMON | _HEADS | _BOTH_KINDS | {"query_pre_attn_scalar": 4},
            "vision_config": {
                "hidden_size": 8,
                "intermediate_size": 8,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": 8,
                "patch_size": 4,
            },
            "mm_tokens_per_image": 1,
        },
        facts="text only, of a model that also sees; sliding and full layers",
    ),
    Family(name="GPT-2", kind="gpt2", arguments=_GPT2, facts="learned positions"),
    Family(
        name="GPT-NeoX, Pythia",
        kind="gpt_neox",
        arguments=_SIZES | {"intermediate_size": 24},
        facts="a part of each head is rotary",
    ),
    Family(name="GPT-J", kind="gptj", arguments=_GPT2 | {"rotary_dim": 4}),
    Family(name="Phi-1, Phi-2", kind="phi", arguments=_LLAMA),
    Family(
        name="Phi-3, Phi-4",
        kind="phi3",
        arguments=_LLAMA | {"sliding_window": WINDOW, "pad_token_id": 0},
        facts="sliding windows",
    ),
    Family(
        name="Phi-3 with long context",
        kind="phi3",
        arguments=_LLAMA
        | {
            "pad_token_id": 0,
            "original_max_position_embeddings": 48,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 1e4,
                "original_max_position_embeddings": 48,
                "short_factor": [1.0, 1.0],
                "long_factor": [2.0, 3.0],
            },
        },
        facts="rotary embeddings that switch; limited to the context before they do",
    ),
    Family(
        name="OPT",
        kind="opt",
        arguments={
            "vocab_size": VOCABULARY,
            "hidden_size": 16,
            "word_embed_proj_dim": 16,
            "ffn_dim": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
            "init_std": 0.6,
            "pad_token_id": 1,
        },
        facts="learned positions with an offset",
    ),
    Family(name="Falcon", kind="falcon", arguments=_SIZES, facts="rotary; one key-value head"),
    Family(
        name="Falcon 40B",
        kind="falcon",
        arguments=_SIZES | {"new_decoder_architecture": True, "num_kv_heads": 2},
        facts="rotary",
    ),
    Family(name="StableLM", kind="stablelm", arguments=_LLAMA),
    Family(
        name="StarCoder2",
        kind="starcoder2",
        arguments=_LLAMA | {"sliding_window": WINDOW},
        facts="sliding windows",
    ),
    Family(
        name="SmolLM3",
        kind="smollm3",
        arguments=_LLAMA | {"no_rope_layer_interval": 2},
        facts="some layers without positions",
    ),
    Family(name="Granite", kind="granite", arguments=_LLAMA),
    Family(name="OLMo 2", kind="olmo2", arguments=_LLAMA),
    Family(
        name="OLMo 3",
        kind="olmo3",
        arguments=_LLAMA | _BOTH_KINDS,
        facts="sliding and full layers",
    ),
    Family(
        name="Command R7B",
        kind="cohere2",
        arguments=_LLAMA | _BOTH_KINDS,
        facts="sliding and full layers, the full ones without positions",
    ),
    Family(name="GLM-4", kind="glm4", arguments=_HEADS | {"partial_rotary_factor": 0.5}),
    Family(
        name="Mixtral",
        kind="mixtral",
        arguments=_LLAMA | _LOCAL_EXPERTS,
        facts="mixture of experts",
    ),
    Family(
        name="Qwen1.5-MoE, Qwen2-MoE",
        kind="qwen2_moe",
        arguments=_LLAMA | _EXPERTS | {"shared_expert_intermediate_size": 8},
        facts="mixture of experts",
    ),
    Family(
        name="Qwen3-MoE", kind="qwen3_moe", arguments=_HEADS | _EXPERTS, facts="mixture of experts"
    ),
    Family(
        name="gpt-oss",
        kind="gpt_oss",
        arguments=_HEADS | _BOTH_KINDS | _LOCAL_EXPERTS | {"rope_parameters": None},
        facts="mixture of experts, sliding and full layers, attention sinks",
    ),
    Family(
        name="DeepSeek-V2",
        kind="deepseek_v2",
        arguments=_LATENT,
        facts="mixture of experts, latent attention",
    ),
    Family(
        name="DeepSeek-V3, R1",
        kind="deepseek_v3",
        arguments=_LATENT,
        facts="mixture of experts, latent attention",
    ),
)
"""Families whose trees the state checks verify, with eager attention and with SDPA."""

REFUSED = (
    Family(
        name="Mamba",
        kind="mamba",
        arguments={"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2},
    ),
    Family(
        name="RecurrentGemma",
        kind="recurrent_gemma",
        arguments=_HEADS | {"num_hidden_layers": 3, "lru_width": 16},
    ),
    Family(
        name="Jamba",
        kind="jamba",
        arguments=_LLAMA
        | {
            "num_experts": 2,
            "num_experts_per_tok": 1,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "mamba_d_state": 4,
            "mamba_dt_rank": 2,
        },
    ),
    Family(
        name="Bamba",
        kind="bamba",
        arguments=_LLAMA
        | {
            "mamba_n_heads": 4,
            "mamba_d_head": 8,
            "mamba_d_state": 4,
            "attn_layer_indices": [1],
        },
    ),
    Family(
        name="Qwen3-Next",
        kind="qwen3_next",
        arguments=_HEADS
        | {
            "linear_num_value_heads": 2,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 4,
            "linear_value_head_dim": 4,
            "num_experts": 2,
            "num_experts_per_tok": 1,
            "moe_intermediate_size": 8,
            "shared_expert_intermediate_size": 8,
        },
    ),
    Family(
        name="LFM2", kind="lfm2", arguments=_LLAMA | {"layer_types": ["conv", "full_attention"]}
    ),
    Family(
        name="RWKV",
        kind="rwkv",
        arguments={"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2},
    ),
    Family(
        name="Llama 4",
        kind="llama4_text",
        arguments=_HEADS
        | {"num_local_experts": 2, "intermediate_size_mlp": 24, "attention_chunk_size": 8},
    ),
    Family(
        name="BLOOM",
        kind="bloom",
        arguments={"vocab_size": VOCABULARY, "hidden_size": 16, "n_layer": 2, "n_head": 4},
    ),
    Family(
        name="MPT",
        kind="mpt",
        arguments={
            "vocab_size": VOCABULARY,
            "d_model": 16,
            "n_layers": 2,
            "n_heads": 4,
            "max_seq_len": 64,
            "initializer_range": 0.6,
        },
    ),
    Family(name="Falcon-RW", kind="falcon", arguments=_SIZES | {"alibi": True}),
    Family(
        name="GPT-Neo",
        kind="gpt_neo",
        arguments={
            "vocab_size": VOCABULARY,
            "hidden_size": 16,
            "num_layers": 2,
            "num_heads": 4,
            "max_position_embeddings": 64,
            "window_size": WINDOW,
            "attention_types": [[["global", "local"], 1]],
            "initializer_range": 0.6,
        },
    ),
    Family(
        name="GPT (the first)",
        kind="openai-gpt",
        arguments=_GPT2,
    ),
    Family(
        name="XLNet",
        kind="xlnet",
        arguments={
            "vocab_size": VOCABULARY,
            "d_model": 16,
            "n_layer": 2,
            "n_head": 4,
            "d_inner": 24,
        },
    ),
)
"""Families that cannot score a tree, and are refused when they are loaded."""
