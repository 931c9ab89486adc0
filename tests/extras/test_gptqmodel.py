"""Against gptqmodel, which the extra `[gptq]` installs: the same weights, bit for bit.

Checkpoints of the tests' own writer are read by both, and checkpoints that gptqmodel has quantised
are read by ours. And layers that stay packed, which a run takes on a GPU, are loaded here on a CPU.
"""

# ruff: noqa: E402

import gc

import pytest

# Before anything else, as it also hides the warnings of what these two import.
for _name in ("gptqmodel", "optimum"):
    pytest.importorskip(_name, reason=f"{_name} is not installed; run: tox -e gptq")

import gptq_writer as writer
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from draftproof.errors import ModelError
from draftproof.models.gptq import can_stay_packed, gptq_format, load_gptq, load_packed
from draftproof.models.gptq_format import weight_file
from draftproof.models.gptq_weights import GPTQTensors

CPU = torch.device("cpu")

# Warnings of the libraries' own making.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def model():
    return writer.tiny_model(hidden=128, intermediate=256)


def ours(folder):
    return load_gptq(
        str(folder), gptq_format(str(folder)), torch.float16, CPU, lambda line: None
    ).state_dict()


def packed(folder):
    """The model with packed layers, loaded as on a GPU."""
    config = AutoConfig.from_pretrained(folder)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    packing = gptq_format(str(folder))
    with GPTQTensors(weight_file(folder, packing.base_name), packing) as tensors:
        return load_packed(folder, tensors, config, packing, torch.float16, CPU)


def weights_of(loaded):
    """The weight of each packed layer as gptqmodel computes it, ``[outputs, inputs]``."""
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear

    return {
        f"{name}.weight": type(module).dequantize_weight(module).t()
        for name, module in loaded.named_modules()
        if isinstance(module, TorchLinear)
    }


def assert_bit_for_bit(found, reference):
    assert len(reference) == 7
    for name, weight in reference.items():
        assert weight.dtype == found[name].dtype == torch.float16
        assert torch.equal(found[name].view(torch.int16), weight.contiguous().view(torch.int16)), (
            name
        )


@pytest.mark.parametrize("layout", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("sym", [True, False])
@pytest.mark.parametrize("desc_act", [True, False])
@pytest.mark.parametrize("group_size", [32, 64, 128, -1])
@pytest.mark.parametrize("bits", [4, 8])
def test_both_read_the_same_weights(model, tmp_path, bits, group_size, desc_act, sym, layout):
    writer.write_checkpoint(
        tmp_path,
        *model,
        bits=bits,
        group_size=group_size,
        desc_act=desc_act,
        sym=sym,
        layout=layout,
    )
    assert_bit_for_bit(ours(tmp_path), weights_of(packed(tmp_path)))


def test_zero_points_of_0(tmp_path):
    """Groups without a negative weight have them, and they borrow."""
    made, made_tokenizer = writer.tiny_model(hidden=128, intermediate=256)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("proj.weight"):
                parameter[::3, :64].abs_()
    writer.write_checkpoint(tmp_path, made, made_tokenizer, sym=False)
    reference = packed(tmp_path)
    layer = reference.get_submodule("model.layers.0.mlp.up_proj")
    assert bool((layer.qzeros & 15 == 0).any())
    assert_bit_for_bit(ours(tmp_path), weights_of(reference))


@pytest.mark.parametrize("config_in", ["config.json", "quantize_config.json"])
@pytest.mark.parametrize("shards", [1, 3])
def test_packed_layers_from_old_files(model, tmp_path, config_in, shards):
    writer.write_checkpoint(
        tmp_path,
        *model,
        name="gptq_model-4bit-32g.safetensors",
        shards=shards,
        config_in=config_in,
        zero_biases=True,
    )
    assert_bit_for_bit(ours(tmp_path), weights_of(packed(tmp_path)))


@pytest.mark.parametrize(
    ("settings", "dtype", "fits"),
    [
        ({}, torch.float16, True),
        ({}, torch.bfloat16, False),
        ({}, torch.float32, False),
        ({"extra_layers": ("lm_head",)}, torch.float16, False),
        ({"skip": "down_proj"}, torch.float16, False),
    ],
)
def test_layers_stay_packed_only_if_that_gives_the_same_model(tmp_path, settings, dtype, fits):
    made = writer.tiny_model(words=[f"w{index}" for index in range(14)])
    skip = settings.get("skip")
    writer.write_checkpoint(tmp_path, *made, extra_layers=settings.get("extra_layers", ()))
    packing = gptq_format(str(tmp_path))
    with GPTQTensors(weight_file(tmp_path, None), packing) as tensors:
        if skip is not None:
            tensors.layers = tuple(name for name in tensors.layers if skip not in name)
        assert can_stay_packed(tensors, made[0], dtype) is fits


def test_a_malformed_layer_never_reaches_a_kernel(model, tmp_path):
    from safetensors.torch import load_file, save_file

    writer.write_checkpoint(tmp_path, *model)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.g_idx"][0] = 99
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="g_idx names a group that is not one of the 4"):
        packed(tmp_path)


def test_packed_layers_compute_what_dense_ones_do(model, tmp_path):
    """Not bit for bit: one multiplies transposed matrices."""
    writer.write_checkpoint(tmp_path, *model, sym=False, desc_act=True)
    dense = load_gptq(str(tmp_path), gptq_format(str(tmp_path)), torch.float16, CPU, print)
    reference = packed(tmp_path)
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear

    for module in reference.modules():
        if isinstance(module, TorchLinear):
            # As it is without a compiler.
            module.dequantize_weight = type(module).dequantize_weight.__get__(module)
    ids = torch.tensor([[2, 3, 4, 5]])
    with torch.inference_mode():
        torch.testing.assert_close(reference(ids).logits, dense(ids).logits, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("layout", ["gptq", "gptq_v2"])
@pytest.mark.parametrize(("sym", "desc_act"), [(True, False), (False, True)])
def test_what_gptqmodel_has_quantised_and_saved(tmp_path, monkeypatch, layout, sym, desc_act):
    """From calibration to the file: and ours reads the weights that gptqmodel reads from it."""
    monkeypatch.setenv("GPTQMODEL_CPU_WORKERS", "2")
    monkeypatch.chdir(tmp_path)  # It leaves a log where it runs.
    from gptqmodel import GPTQModel, QuantizeConfig

    made, made_tokenizer = writer.tiny_model(hidden=128, intermediate=256, layers=1)
    made.half().save_pretrained(tmp_path / "dense")
    made_tokenizer.save_pretrained(tmp_path / "dense")
    settings = QuantizeConfig(
        bits=4, group_size=32, sym=sym, desc_act=desc_act, format=layout, device="cpu"
    )
    quantiser = GPTQModel.load(str(tmp_path / "dense"), settings)
    rows = [torch.randint(2, 10, (64,)).tolist() for _ in range(16)]
    quantiser.quantize([{"input_ids": row, "attention_mask": [1] * 64} for row in rows])
    quantiser.save(str(tmp_path / "packed"))
    del quantiser
    gc.collect()
    assert_bit_for_bit(ours(tmp_path / "packed"), weights_of(packed(tmp_path / "packed")))
    near = AutoModelForCausalLM.from_pretrained(tmp_path / "dense", dtype=torch.float16)
    for name, weight in near.state_dict().items():
        assert float((ours(tmp_path / "packed")[name] - weight).abs().max()) < 0.7, name
