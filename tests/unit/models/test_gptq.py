"""Whole GPTQ checkpoints: the dense model that is loaded, and one line for each that cannot be."""

import json
import os
import shutil
import subprocess
import sys

import gptq_writer as writer
import pytest
import torch
from checkpoints import save_checkpoint
from safetensors.torch import load_file, save_file

from draftproof.assets import asset_path
from draftproof.config import RunConfig
from draftproof.data.prompt import Prompt
from draftproof.engines.measuring import Bench
from draftproof.engines.reference import ReferenceEngine
from draftproof.errors import DataError, ModelError
from draftproof.models.gptq import gptq_format, load_gptq
from draftproof.models.loading import load_pair
from draftproof.trace import Verdict

CPU = torch.device("cpu")
LAYER = "model.layers.0.mlp.up_proj"


@pytest.fixture(scope="module")
def model():
    return writer.tiny_model(hidden=128, intermediate=256)


def loaded(folder, dtype=torch.float32, report=lambda line: None):
    return load_gptq(str(folder), gptq_format(str(folder)), dtype, CPU, report)


def assert_weights_are(found, exact, dtype=torch.float32):
    state = found.state_dict()
    assert state.keys() >= exact.keys()
    for name, weight in exact.items():
        assert torch.equal(state[name], weight.float().to(dtype)), name
    for name in state.keys() - exact.keys():
        assert torch.equal(state[name], found.get_input_embeddings().weight), name


@pytest.mark.parametrize("layout", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("sym", [True, False])
@pytest.mark.parametrize("desc_act", [True, False])
@pytest.mark.parametrize("group_size", [32, 64, 128, -1])
@pytest.mark.parametrize("bits", [4, 8])
def test_every_combination_is_loaded_exactly(
    model, tmp_path, bits, group_size, desc_act, sym, layout
):
    exact = writer.write_checkpoint(
        tmp_path,
        *model,
        bits=bits,
        group_size=group_size,
        desc_act=desc_act,
        sym=sym,
        layout=layout,
    )
    assert_weights_are(loaded(tmp_path), exact)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("name", ["model.safetensors", "gptq_model-4bit-32g.safetensors"])
@pytest.mark.parametrize("config_in", ["config.json", "quantize_config.json"])
def test_every_layout_of_files(tmp_path, config_in, name, shards, tied):
    exact = writer.write_checkpoint(
        tmp_path,
        *writer.tiny_model(tied=tied),
        config_in=config_in,
        name=name,
        shards=shards,
        quantizer=(),
    )
    found = loaded(tmp_path)
    assert_weights_are(found, exact)
    assert (found.lm_head.weight is found.model.embed_tokens.weight) is tied


def test_the_quantised_weights_are_near_the_original_ones(model, tmp_path):
    writer.write_checkpoint(tmp_path, *model, bits=8, desc_act=True, sym=False)
    original = model[0].state_dict()[f"{LAYER}.weight"]
    difference = (loaded(tmp_path).state_dict()[f"{LAYER}.weight"] - original).abs().max()
    assert 0 < float(difference) < 0.01


@pytest.mark.parametrize("tied", [True, False])
def test_a_packed_head(tmp_path, tied):
    """Its 16 outputs need a vocabulary of whole words."""
    words = [f"w{index}" for index in range(14)]
    made = writer.tiny_model(tied=tied, words=words)
    exact = writer.write_checkpoint(tmp_path, *made, extra_layers=("lm_head",))
    found = loaded(tmp_path)
    assert_weights_are(found, exact)
    assert not torch.equal(found.lm_head.weight, found.model.embed_tokens.weight)


def test_the_dtype_asked_for_or_the_checkpoints_own(model, tmp_path):
    exact = writer.write_checkpoint(tmp_path, *model)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        found = loaded(tmp_path, dtype)
        assert {parameter.dtype for parameter in found.parameters()} == {dtype}
        assert_weights_are(found, exact, dtype)
    assert loaded(tmp_path, "auto").dtype == torch.float16
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, "dtype": "bfloat16"}))
    assert loaded(tmp_path, "auto").dtype == torch.bfloat16


def test_the_model_is_no_longer_a_quantised_one(model, tmp_path):
    writer.write_checkpoint(tmp_path / "packed", *model)
    found = loaded(tmp_path / "packed")
    assert not hasattr(found.config, "quantization_config")
    found.save_pretrained(tmp_path / "dense")
    assert gptq_format(str(tmp_path / "dense")) is None


def test_the_generation_config_comes_along(model, tmp_path):
    writer.write_checkpoint(tmp_path, *model)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [1, 5]}')
    assert loaded(tmp_path).generation_config.eos_token_id == [1, 5]


def test_it_says_that_layers_are_unpacked(model, tmp_path):
    writer.write_checkpoint(tmp_path, *model)
    lines = []
    loaded(tmp_path, report=lines.append)
    assert lines == ["4-bit GPTQ, group size 32: its layers are unpacked to float32"]


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=10, n_embd=32, n_layer=1, n_head=2, n_positions=32)
    )


def qwen2():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=10,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
        )
    )


@pytest.mark.parametrize("make", [gpt2, qwen2])
def test_other_architectures(tmp_path, make):
    """GPT-2 keeps its weights as [inputs, outputs], square ones too; Qwen2 has biases."""
    with torch.random.fork_rng():
        made = make()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("bias"):
                parameter.copy_(torch.arange(len(parameter)) / 8)
    exact = writer.write_checkpoint(tmp_path, made, desc_act=True, sym=False)
    assert_weights_are(loaded(tmp_path), exact)


def test_biases_of_zeros_are_left_out(model, tmp_path):
    exact = writer.write_checkpoint(tmp_path, *model, zero_biases=True, quantizer=())
    assert_weights_are(loaded(tmp_path), exact)


def test_groups_are_consecutive_where_g_idx_is_missing(model, tmp_path):
    exact = writer.write_checkpoint(tmp_path, *model, g_idx=False)
    assert_weights_are(loaded(tmp_path), exact)


# Malformed checkpoints


def change_weights(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def drop(name):
    return lambda tensors: tensors.pop(name)


def replace(name, make):
    return lambda tensors: tensors.update({name: make(tensors[name])})


def out_of_range(value):
    def changed(tensor):
        tensor[3] = value
        return tensor

    return changed


MALFORMED = [
    (drop(f"{LAYER}.qzeros"), f"layer {LAYER}: qzeros is missing"),
    (drop(f"{LAYER}.scales"), f"layer {LAYER}: scales is missing"),
    (drop(f"{LAYER}.g_idx"), f"layer {LAYER}: g_idx is missing, which only desc_act false"),
    (drop("model.norm.weight"), "the checkpoint has no model.norm.weight;"),
    (replace(f"{LAYER}.qweight", lambda t: t[:-1]), r"qweight has the shape \(15, 256\), and not"),
    (replace(f"{LAYER}.qweight", lambda t: t[:, :-8]), r"qweight has the shape \(16, 248\)"),
    (replace(f"{LAYER}.qzeros", lambda t: t[:, :-1]), r"qzeros has the shape \(4, 31\)"),
    (replace(f"{LAYER}.scales", lambda t: t[:-1]), r"qzeros has the shape \(4, 32\), and not \(3"),
    (replace(f"{LAYER}.g_idx", lambda t: t[:-8]), r"qweight has the shape \(16, 256\), and not"),
    (replace(f"{LAYER}.qweight", lambda t: t.long()), "qweight is int64 of 2 dimensions, and not"),
    (replace(f"{LAYER}.scales", lambda t: t.int()), "scales is int32 of 2 dimensions"),
    (replace(f"{LAYER}.scales", lambda t: t.flatten()), "scales is float16 of 1 dimensions"),
    (replace(f"{LAYER}.scales", lambda t: t * float("nan")), "a scale is not a finite number"),
    (replace(f"{LAYER}.g_idx", out_of_range(4)), "g_idx names a group that is not one of the 4"),
    (replace(f"{LAYER}.g_idx", out_of_range(-1)), "g_idx names a group that is not one of the 4"),
]


@pytest.mark.parametrize(("change", "message"), MALFORMED)
def test_malformed_layers(model, tmp_path, change, message):
    writer.write_checkpoint(tmp_path, *model, desc_act=True)
    change_weights(tmp_path, change)
    with pytest.raises(ModelError, match=message) as caught:
        loaded(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_layer_that_is_missing_altogether(model, tmp_path):
    writer.write_checkpoint(tmp_path, *model)

    def change(tensors):
        for part in ("qweight", "qzeros", "scales", "g_idx"):
            del tensors[f"{LAYER}.{part}"]

    change_weights(tmp_path, change)
    with pytest.raises(ModelError, match=f"the checkpoint has no {LAYER}.weight"):
        loaded(tmp_path)


def test_layers_of_another_size_than_the_architectures(model, tmp_path):
    writer.write_checkpoint(tmp_path, *model)
    config = json.loads((tmp_path / "config.json").read_text())
    config["intermediate_size"] = 192
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"the shape \(128, 256\), where config.json asks for"):
        loaded(tmp_path)


def test_a_layer_or_a_bias_that_the_architecture_has_no_place_for(model, tmp_path):
    writer.write_checkpoint(tmp_path, *model)
    change_weights(
        tmp_path, lambda tensors: tensors.update({f"{LAYER}.bias": torch.ones(256).half()})
    )
    with pytest.raises(ModelError, match=f"the architecture has no {LAYER}.bias"):
        loaded(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["num_hidden_layers"] = 0
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"the architecture has no model.layers.0.* and 5 more"):
        loaded(tmp_path)


def test_a_checkpoint_without_a_packed_layer(model, tmp_path):
    writer.write_checkpoint(tmp_path, *model)
    model[0].save_pretrained(tmp_path / "dense")
    (tmp_path / "dense" / "model.safetensors").replace(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="no layer is packed, though its settings say GPTQ"):
        loaded(tmp_path)


def test_packed_embeddings(model, tmp_path):
    writer.write_checkpoint(tmp_path, *model)
    change_weights(
        tmp_path,
        lambda tensors: tensors.update(
            {
                f"model.embed_tokens.{part}": tensors[f"{LAYER}.{part}"].clone()
                for part in ("qweight", "qzeros", "scales", "g_idx")
            }
        ),
    )
    with pytest.raises(ModelError, match="layer model.embed_tokens: packed embeddings are not"):
        loaded(tmp_path)


def test_packed_weights_without_settings(model, tmp_path):
    writer.write_checkpoint(tmp_path, *model, config_in="quantize_config.json")
    (tmp_path / "quantize_config.json").unlink()
    with pytest.raises(ModelError, match="holds packed weights, but neither"):
        gptq_format(str(tmp_path))


def test_a_corrupt_file(model, tmp_path):
    writer.write_checkpoint(tmp_path, *model)
    (tmp_path / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(ModelError, match="cannot read model.safetensors"):
        loaded(tmp_path)


def test_zero_points_that_autogptq_has_overwritten(model, tmp_path):
    """It stores a zero point of 0 with ones up to the top of the word, so those above are lost."""
    made, _ = model
    with torch.no_grad():
        weight = made.get_submodule(LAYER).weight
        kept = weight.clone()
        weight[3, :32] = weight[3, :32].abs()
    try:
        exact = writer.write_checkpoint(tmp_path / "borrowed", *model, sym=False)
        writer.write_checkpoint(tmp_path / "lost", *model, sym=False, borrow=False, quantizer=())
    finally:
        with torch.no_grad():
            weight.copy_(kept)
    assert_weights_are(loaded(tmp_path / "borrowed"), exact)
    with pytest.raises(ModelError, match=f"layer {LAYER}: zero points of 0 have overwritten"):
        loaded(tmp_path / "lost")


# As a target


def config(target, draft, **settings):
    return RunConfig(target=str(target), draft=str(draft), device="cpu", **settings)


def test_errors_name_the_option_once(model, tmp_path):
    folder = tmp_path / "target"
    writer.write_checkpoint(folder, *model, bits=4)
    settings = {"quant_method": "gptq", "bits": 3, "group_size": 32}
    writer.write_settings(folder, settings)
    with pytest.raises(ModelError, match="3-bit weights are not read") as caught:
        load_pair(config(folder, folder))
    assert str(caught.value).startswith(f"--spec-target: cannot load the model of {folder}: ")
    assert "check that the files are whole" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("desc_act", [True, False])
def test_a_quantised_target_is_decoded_losslessly(model, tmp_path, dtype, desc_act):
    writer.write_checkpoint(tmp_path / "target", *model, desc_act=desc_act, sym=False)
    save_checkpoint(tmp_path / "draft", seed=1)
    settings = config(
        tmp_path / "target", tmp_path / "draft", dtype=dtype, max_new_tokens=24, check_state=1.0
    )
    lines = []
    pair = load_pair(settings, lines.append)
    assert len(lines) == 3
    assert pair.descriptions["target"]["dtype"] == dtype
    engine = Bench(ReferenceEngine(pair, settings), pair, settings)
    for text in ("a b c", "h g", "d"):
        record = engine.run(Prompt(prompt_id=text, domain="chat", text=text))
        assert record.verdict is Verdict.IDENTICAL, record.message
        assert record.plain.token_ids == record.speculative.token_ids


def test_a_quantised_model_drafts_for_the_original(model, tmp_path):
    """At 8 bits the two nearly always agree, so that nearly every draft is kept whole."""
    made, made_tokenizer = model
    made.save_pretrained(tmp_path / "target")
    made_tokenizer.save_pretrained(tmp_path / "target")
    writer.write_checkpoint(tmp_path / "draft", *model, bits=8)
    settings = config(tmp_path / "target", tmp_path / "draft", dtype="float64", max_new_tokens=24)
    pair = load_pair(settings)
    engine = Bench(ReferenceEngine(pair, settings), pair, settings)
    record = engine.run(Prompt(prompt_id="1", domain="chat", text="a b c"))
    assert record.verdict is Verdict.IDENTICAL
    assert len(record.steps["accepted_length"]) < 12


def test_hub_ids(model, tmp_path):
    """From a cache laid out as the hub's, offline: a GPTQ target with old files, a plain draft."""

    def cached(name):
        repository = tmp_path / "hub" / f"models--some--{name}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "first").write_text("0" * 40)
        return repository / "snapshots" / ("0" * 40)

    writer.write_checkpoint(
        cached("target"),
        *model,
        name="gptq_model-4bit-32g.safetensors",
        config_in="quantize_config.json",
        quantizer=(),
    )
    save_checkpoint(cached("draft"))
    code = (
        "from draftproof.config import RunConfig\n"
        "from draftproof.models.loading import load_pair\n"
        "config = RunConfig(target='some/target@first', draft='some/draft@first', device='cpu')\n"
        "pair = load_pair(config, print)\n"
        "print({role: said['sha256'] for role, said in pair.descriptions.items()})\n"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    *lines, _ = result.stdout.splitlines()
    assert lines == [
        "loading target some/target@first (auto on cpu)",
        "4-bit GPTQ, group size 32: its layers are unpacked to float16",
        "loading draft some/draft@first (auto on cpu)",
    ]


def test_the_settings_of_a_hub_model_are_fetched_in_either_file(model, tmp_path, monkeypatch):
    writer.write_checkpoint(tmp_path / "hub", *model, config_in="quantize_config.json")
    (tmp_path / "cache").mkdir()

    def fetch(location, name, **arguments):
        assert location == "some/target"
        assert name == "config.json" or not any(arguments.values())
        return shutil.copy(tmp_path / "hub" / name, tmp_path / "cache" / name)

    monkeypatch.setattr("draftproof.models.gptq.cached_file", fetch)
    assert gptq_format("some/target").group_size == 32


def builtin(role):
    try:
        folder = asset_path("models", f"builtin-{role}")
    except DataError as error:
        pytest.skip(str(error))
    if not (folder / "model.safetensors").is_file():
        pytest.skip(f"the built-in {role} is not whole")
    return folder


@pytest.fixture(scope="module")
def quantised_builtin(tmp_path_factory):
    """The built-in target at 4 bits, made here: its exact weights and its folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = builtin("target")
    folder = tmp_path_factory.mktemp("builtin") / "gptq"
    original = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    exact = writer.write_checkpoint(
        folder, original, AutoTokenizer.from_pretrained(source), group_size=64, sym=False
    )
    return folder, exact


def test_the_builtin_target_quantised(quantised_builtin):
    folder, exact = quantised_builtin
    assert_weights_are(loaded(folder), exact)


def test_the_builtin_draft_drafts_for_the_quantised_target(quantised_builtin):
    builtin("draft")
    folder, _ = quantised_builtin
    settings = config(folder, "builtin", dtype="float32", max_new_tokens=32)
    pair = load_pair(settings)
    engine = Bench(ReferenceEngine(pair, settings), pair, settings)
    for text in ("What is 17 + 25?", "def add(a, b):"):
        record = engine.run(Prompt(prompt_id=text, domain="math", text=text))
        assert record.verdict is Verdict.IDENTICAL, record.message
