"""What a GPTQ checkpoint's settings and files say; each way in which they cannot be read."""

import json

import pytest

from draftproof.errors import ModelError
from draftproof.models.gptq_format import parse_format, read_format, shards, weight_file

AUTOGPTQ = {"bits": 4, "group_size": 128, "damp_percent": 0.01, "desc_act": True, "sym": True}


def test_the_settings_that_autogptq_writes():
    said = parse_format({**AUTOGPTQ, "model_file_base_name": "gptq_model-4bit-128g"}, "here")
    assert (said.bits, said.group_size, said.desc_act, said.sym) == (4, 128, True, True)
    assert said.zero_points_less_one
    assert not said.borrows
    assert said.base_name == "gptq_model-4bit-128g"


@pytest.mark.parametrize("key", ["checkpoint_format", "format"])
@pytest.mark.parametrize(("layout", "less_one"), [("gptq", True), ("GPTQ_V2", False)])
def test_the_convention_of_zero_points_is_the_formats(key, layout, less_one):
    said = parse_format({**AUTOGPTQ, "quant_method": "gptq", key: layout}, "here")
    assert said.zero_points_less_one is less_one


def test_gptqmodel_borrows():
    meta = {"quantizer": ["optimum:2.3.0", "gptqmodel:7.6.0"]}
    assert parse_format({**AUTOGPTQ, "meta": meta}, "here").borrows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": 2}, "here: 2-bit weights are not read; give an unquantised"),
        ({"bits": 3}, "3-bit weights are not read"),
        ({"bits": "4"}, "bits is '4', not a whole number"),
        ({"bits": True}, "bits is True, not a whole number"),
        ({"group_size": None}, "group_size is None, not a whole number"),
        ({"group_size": 0}, "group_size is 0; it is -1 or a number of features"),
        ({"desc_act": "yes"}, "desc_act is 'yes', not true or false"),
        ({"sym": 1}, "sym is 1, not true or false"),
        ({"dynamic": {"-:.*down": {}}}, "dynamic is set; other settings for some layers"),
        ({"adapter": {"rank": 8}}, "adapter is set"),
        ({"meta": {"rotation": "hadamard"}}, "rotation is set"),
        ({"pack_dtype": "int16"}, "packed in words of int16 are not read"),
        ({"is_marlin_format": True}, "packed as marlin are not read"),
        ({"checkpoint_format": "marlin"}, "packed as marlin are not read"),
        ({"checkpoint_format": "bitblas"}, "packed as bitblas are not read"),
        ({"checkpoint_format": "gptq_p"}, "packed as gptq_p are not read"),
        ({"quant_method": "awq", "version": "gemm"}, "packed as awq are not read"),
        ({"quant_method": "marlin"}, "packed as marlin are not read"),
        ({"quant_method": "auto-round"}, "packed as auto-round are not read"),
        ({"checkpoint_format": "something new"}, "packed as something new are not read"),
    ],
)
def test_what_is_not_read_is_refused_by_name(changes, message):
    with pytest.raises(ModelError, match=message) as caught:
        parse_format({**AUTOGPTQ, **changes}, "here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["bits", "group_size"])
def test_a_missing_setting_is_named(key):
    with pytest.raises(ModelError, match=f"here has no {key}; restore it"):
        parse_format({name: value for name, value in AUTOGPTQ.items() if name != key}, "here")


@pytest.mark.parametrize("harmless", [{"dynamic": {}}, {"dynamic": None}, {"lm_head": True}])
def test_settings_that_change_nothing(harmless):
    assert parse_format({**AUTOGPTQ, **harmless}, "here").bits == 4


@pytest.mark.parametrize("method", ["bitsandbytes", "fp8", "compressed-tensors"])
def test_other_methods_are_not_gptq(method):
    assert parse_format({"quant_method": method}, "here") is None


def write(folder, **files):
    for name, content in files.items():
        (folder / f"{name}.json").write_text(
            content if isinstance(content, str) else json.dumps(content)
        )


def test_settings_in_either_file(tmp_path):
    write(tmp_path, config={})
    assert read_format(tmp_path) is None
    write(tmp_path, quantize_config=AUTOGPTQ)
    assert read_format(tmp_path).group_size == 128
    write(tmp_path, config={"quantization_config": {**AUTOGPTQ, "group_size": 64}})
    assert read_format(tmp_path).group_size == 64


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config": "{"}, "cannot read config.json"),
        ({"config": "[]"}, "config.json is not a table of settings"),
        ({"config": {"quantization_config": [4]}}, "quantization_config in config.json is not a"),
        ({"config": {}, "quantize_config": "null"}, "quantize_config.json is not a table"),
        ({"config": {}, "quantize_config": ""}, "cannot read quantize_config.json"),
    ],
)
def test_corrupt_settings(tmp_path, files, message):
    write(tmp_path, **files)
    with pytest.raises(ModelError, match=message):
        read_format(tmp_path)


@pytest.mark.parametrize(
    ("names", "base_name", "chosen"),
    [
        (["model.safetensors"], None, "model.safetensors"),
        (["gptq_model-4bit-128g.safetensors"], None, "gptq_model-4bit-128g.safetensors"),
        (["gptq_model-4bit-128g.safetensors"], "wrong", "gptq_model-4bit-128g.safetensors"),
        (["a.safetensors", "b.safetensors"], "b", "b.safetensors"),
        (["a.safetensors", "model.safetensors"], None, "model.safetensors"),
        (
            ["model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"],
            None,
            "model.safetensors.index.json",
        ),
        (
            ["x-1.safetensors", "x-2.safetensors", "x.safetensors.index.json"],
            None,
            "x.safetensors.index.json",
        ),
    ],
)
def test_which_file_holds_the_weights(tmp_path, names, base_name, chosen):
    for name in names:
        (tmp_path / name).write_text("")
    assert weight_file(tmp_path, base_name) == tmp_path / chosen


def test_weights_that_are_not_there_or_not_clear(tmp_path):
    (tmp_path / "model.bin").write_text("")
    with pytest.raises(ModelError, match=r"no \.safetensors file; pickled weights are not read"):
        weight_file(tmp_path, None)
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_text("")
    with pytest.raises(ModelError, match="which of a.safetensors, b.safetensors holds"):
        weight_file(tmp_path, None)


def test_the_shards_of_an_index(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    for name in ("1", "2"):
        (tmp_path / f"{name}.safetensors").write_text("")
    index.write_text(json.dumps({"weight_map": {"x": "2.safetensors", "y": "1.safetensors"}}))
    assert [path.name for path in shards(index)] == ["1.safetensors", "2.safetensors"]


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (None, "has no weight_map"),
        ({}, "has no weight_map"),
        ({"x": "gone.safetensors"}, "the shard gone.safetensors .* is missing; download it"),
        ({"x": "../1.safetensors"}, "which is no file of the checkpoint"),
        ({"x": "/etc/1.safetensors"}, "which is no file of the checkpoint"),
        ({"x": "1.bin"}, "which is no file of the checkpoint"),
    ],
)
def test_an_index_that_cannot_be_followed(tmp_path, weight_map, message):
    (tmp_path.parent / "1.safetensors").write_text("")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ModelError, match=message):
        shards(index)


@pytest.mark.parametrize("base_name", ["../model", "/tmp/model", 7])
def test_a_base_name_that_leaves_the_folder_is_ignored(base_name):
    assert parse_format({**AUTOGPTQ, "model_file_base_name": base_name}, "here").base_name is None
