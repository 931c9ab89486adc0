"""What a checkpoint stores is used as it is meant, or refused."""

import contextlib
import json

import pytest
import torch
from checkpoints import changed_settings, changed_weights, save_checkpoint, tokenizer
from transformers import LlamaForCausalLM

from draftproof.errors import ModelError
from draftproof.models.checkpoint import load_model
from draftproof.models.source import model_source
from draftproof.models.stored_weights import require_no_loss, stored_weights

LAYER = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def folder(tmp_path):
    return save_checkpoint(tmp_path / "model")


def load(folder):
    """The model in a folder, and the notes on it."""
    notes = []
    model = load_model(
        model_source(str(folder), "target"),
        "target",
        torch.float32,
        torch.device("cpu"),
        report=lambda line: None,
        note=notes.append,
    )
    return model, notes


def added(folder, **tensors):
    names = {name.replace("__", "."): value for name, value in tensors.items()}
    return changed_weights(folder, lambda weights: weights.update(names))


def in_float8(weights):
    weights[f"{LAYER}.weight"] = weights[f"{LAYER}.weight"].to(torch.float8_e4m3fn)


@pytest.mark.parametrize("method", ["fp8_of_mine", "modelopt", "torchao_next"])
def test_a_method_that_nothing_undoes_is_refused(folder, method):
    changed_settings(folder, quantization_config={"quant_method": method})
    with pytest.raises(ModelError, match=f"its weights are quantised by '{method}', which trans"):
        load(folder)


def test_a_package_that_a_format_needs_is_asked_for(folder, monkeypatch):
    """Which packages are installed is no matter: the loader says that one is missing."""

    def missing(*_, **__):
        raise ImportError("Using `bits` quantization requires bits: `pip install bits`")

    monkeypatch.setattr("draftproof.models.checkpoint._AUTO.from_pretrained", missing)
    with pytest.raises(ModelError, match=r"requires bits.*needs a package that is mis") as caught:
        load(folder)
    assert "an unquantised checkpoint" in str(caught.value)
    assert "whole" not in str(caught.value)


FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [8, 8]}


def in_blocks(folder, scales):
    """Projections as 8-bit floats with a scale for each block of 8 × 8, as DeepSeek writes them."""

    def change(weights):
        for name in [name for name in weights if name.endswith("_proj.weight")]:
            weight = weights[name]
            weights[name] = (weight / 12).to(torch.float8_e4m3fn)
            blocks = [-(-size // 8) for size in weight.shape]
            weights[name.removesuffix("weight") + scales] = torch.full(blocks, 12.0)

    changed_settings(folder, quantization_config=FP8)
    return changed_weights(folder, change)


def test_a_method_that_transformers_undoes_is_read(folder):
    """FP8 and MXFP4 without a GPU: undone, and taken out of the configuration."""
    model, _ = load(folder)
    undone, notes = load(in_blocks(folder, "weight_scale_inv"))
    assert notes == ["weights are stored as fp8 and were unpacked by transformers"]
    weight, expected = (each.state_dict()[f"{LAYER}.weight"] for each in (undone, model))
    assert weight.dtype == torch.float32
    # Three bits of mantissa.
    torch.testing.assert_close(weight, expected, rtol=1 / 16, atol=1e-1)


@pytest.mark.parametrize("scales", ["weight_scale", "scale_weight"])
def test_a_method_that_is_undone_without_its_scales_is_refused(folder, scales):
    with pytest.raises(ModelError, match=r"(for|has) model\.layers\.0\..* unquantised checkpoint"):
        load(in_blocks(folder, scales))


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "int8"])
def test_experts_that_are_codes_are_found_by_the_names_they_are_stored_under(tmp_path, kind):
    """`transformers` puts them together under other names."""
    folder = save_whole(
        tmp_path,
        "MixtralForCausalLM",
        **_BERT,
        num_key_value_heads=2,
        num_local_experts=2,
    )

    def change(weights):
        for name in [name for name in weights if ".experts." in name]:
            weights[name] = (weights[name] * 1000).to(getattr(torch, kind))

    changed_weights(folder, change)
    if kind == "int8":
        with pytest.raises(ModelError, match=r"experts\.0\.w1\.weight, .* are stored as I8, and"):
            load(folder)
    else:
        [note] = load(folder)[1]
        assert note.startswith("weights are stored as F8_E4M3 without scales")


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        (f"{LAYER}.bias", True),
        ("model.layers.1.mlp.up_proj.weight", True),
        ("model.layers.1.mlp.up_proj.weight_scale", True),
        (f"{LAYER}.SCB", False),
        (f"{LAYER}.weight.absmax", False),
        (f"{LAYER}.zero_point", False),
    ],
)
def test_what_says_how_layers_are_quantised_is_not_lost_and_all_else_is(folder, name, lost):
    added(folder, **{name: torch.ones(2, 2)})
    model = LlamaForCausalLM.from_pretrained(folder)
    with pytest.raises(ModelError, match=f"the checkpoint has {name}, for which"):
        require_no_loss(model, stored_weights(folder), [name])
    model.hf_quantizer = object()
    with pytest.raises(ModelError, match=name) if lost else contextlib.nullcontext():
        require_no_loss(model, stored_weights(folder), [name])


def test_codes_with_scales_are_refused(folder):
    """They were cast, without their scales."""
    changed_weights(folder, in_float8)
    added(folder, **{f"{LAYER}.weight_scale": torch.full((1,), 12.0)})
    with pytest.raises(ModelError, match=r"q_proj.weight are stored as F8_E4M3, with scales such"):
        load(folder)


@pytest.mark.parametrize("name", ["weight_scale_inv", "weight_scale", "scales", "input_scale"])
def test_scales_without_a_place_are_refused(folder, name):
    added(folder, **{f"{LAYER}.{name}": torch.full((1,), 12.0)})
    with pytest.raises(ModelError, match=f"the checkpoint has {LAYER}.{name}, for which Llama"):
        load(folder)


def test_whole_numbers_for_weights_are_refused(folder):
    def rounded(weights):
        weights[f"{LAYER}.weight"] = (weights[f"{LAYER}.weight"] * 40).to(torch.int8)

    changed_weights(folder, rounded)
    with pytest.raises(ModelError, match=r"q_proj.weight are stored as I8, and config.json does"):
        load(folder)


def test_eight_bit_floats_without_scales_are_what_they_say(folder):
    changed_weights(folder, in_float8)
    model, notes = load(folder)
    assert notes == ["weights are stored as F8_E4M3 without scales, and taken as they are"]
    weight = model.state_dict()[f"{LAYER}.weight"]
    assert torch.equal(weight, weight.to(torch.float8_e4m3fn).float())


@pytest.mark.parametrize(
    "name",
    [
        f"{LAYER}.bias",
        f"{LAYER}.lora_A.weight",
        "model.layers.0.self_attn.q_norm.weight",
        "model.layers.1.mlp.up_proj.weight",
        "model.layers.0.router.score.weight",
        "model.embed_positions.weight",
        "lm_head.bias",
    ],
)
def test_weights_without_a_place_that_change_the_model_are_refused(folder, name):
    added(folder, **{name: torch.ones(2, 2)})
    with pytest.raises(ModelError, match=f"the checkpoint has {name}, for which LlamaForCausalLM"):
        load(folder)


@pytest.mark.parametrize(
    "name", ["vision_tower.layers.0.mlp.up_proj.weight", "score.weight", "mtp.layers.0.fc.weight"]
)
def test_what_stands_beside_a_language_model_is_noted(folder, name):
    added(folder, **{name: torch.ones(2, 2)})
    assert load(folder)[1] == [f"the architecture has no place for {name}; not loaded"]


def test_layers_that_predict_further_tokens_are_noted_where_they_are_counted(folder):
    name = "model.layers.1.mlp.up_proj.weight"
    added(folder, **{name: torch.ones(2, 2)})
    changed_settings(folder, num_nextn_predict_layers=1)
    assert load(folder)[1] == [f"the architecture has no place for {name}; not loaded"]


def test_tensors_without_effect_are_passed_over(folder):
    model, _ = load(folder)
    added(
        folder,
        **{
            f"{LAYER}.bias": torch.zeros(16),
            "model.layers.0.self_attn.rotary_emb.inv_freq": model.model.rotary_emb.inv_freq,
            "model.layers.0.attn.bias": torch.ones(1, 1, 8, 8).tril(),
            "model.layers.0.attn.masked_bias": torch.tensor(-1e4),
        },
    )
    assert load(folder)[1] == []


def test_rotary_frequencies_of_another_model_are_refused(folder):
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    model, _ = load(folder)
    added(folder, **{name: model.model.rotary_emb.inv_freq / 4})
    with pytest.raises(ModelError, match=f"the checkpoint has {name}, for which"):
        load(folder)


def save_whole(folder, architecture, **settings):
    """A tiny, whole checkpoint of an architecture that need not be a language model."""
    import transformers

    kind = getattr(transformers, architecture)
    model = kind(kind.config_class(**settings))
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


_BERT = {
    "vocab_size": 10,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}


_GPT2 = {"vocab_size": 10, "n_embd": 16, "n_layer": 1, "n_head": 2}


@pytest.mark.parametrize(
    ("architecture", "settings", "message"),
    [
        (
            "T5ForConditionalGeneration",
            {"vocab_size": 10, "d_model": 16, "d_ff": 16, "num_layers": 1, "num_heads": 2},
            "T5ForConditionalGeneration is an encoder-decoder",
        ),
        ("BertForSequenceClassification", _BERT, "Classification classifies texts, and is no"),
        ("LlamaForSequenceClassification", _BERT, "LlamaForSequenceClassification classifies"),
        # Its embedding could stand for a head.
        ("GPT2ForSequenceClassification", _GPT2, "GPT2ForSequenceClassification classifies"),
        ("LlamaModel", _BERT, "it is a LlamaModel, which is whole without them and no causal"),
        (
            "ViTForImageClassification",
            {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8},
            "ViTForImageClassification is no causal language model that transformers",
        ),
    ],
)
def test_whole_checkpoints_of_other_kinds_say_what_they_are(
    tmp_path, architecture, settings, message
):
    save_whole(tmp_path, architecture, **settings)
    with pytest.raises(ModelError, match=message) as caught:
        load(tmp_path)
    assert "download" not in str(caught.value)
    assert "check that the files are whole" not in str(caught.value)


def test_more_layers_than_any_model_has_are_refused_before_they_are_made(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10**7}))
    with pytest.raises(ModelError, match="says that it has 10000000 layers, more than any model"):
        load(folder)


def test_a_further_head_of_a_language_model_is_left_out(tmp_path):
    save_whole(tmp_path, "GPT2DoubleHeadsModel", **_GPT2)
    assert any("no place for multiple_choice_head" in note for note in load(tmp_path)[1])


def test_an_adapter_is_not_taken_for_its_model(folder):
    """Whether it were applied would hang on what else is installed."""
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="holds an adapter, which changes another model; merge it"):
        load(folder)
