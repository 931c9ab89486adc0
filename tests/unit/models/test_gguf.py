"""A GGUF target end to end: the built-in target, written with types that `gguf` quantises to."""

import copy
from dataclasses import replace

import pytest
import torch

from draftproof.assets import asset_path
from draftproof.config import RunConfig, Sampling
from draftproof.data import DOMAINS, load_prompts
from draftproof.engines.measuring import Bench
from draftproof.engines.reference import ReferenceEngine
from draftproof.errors import ModelError
from draftproof.models.gguf_contents import complete_gguf, read_gguf
from draftproof.models.loading import load_pair
from draftproof.trace import Verdict

gguf = pytest.importorskip("gguf", reason="the extra [gguf] is not installed")

from gguf.quants import dequantize  # noqa: E402
from gguf_writer import write_gguf  # noqa: E402


@pytest.fixture(scope="module")
def source():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = asset_path("models", "builtin-target")
    return (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        AutoTokenizer.from_pretrained(folder),
    )


@pytest.fixture(scope="module")
def written(source, tmp_path_factory):
    """The built-in target in a file of each type, written once."""
    folder, made = tmp_path_factory.mktemp("gguf"), {}

    def write(kind):
        if kind not in made:
            made[kind] = write_gguf(folder / f"{kind}.gguf", *source, kind)
        return made[kind]

    return write


def settings(target, **changes):
    return RunConfig(target=str(target), **{"max_new_tokens": 16, "check_state": 0.2} | changes)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_a_quantised_target_is_decoded_losslessly(written, kind):
    config = settings(written(kind))
    pair = load_pair(config, lambda line: None)
    bench = Bench(ReferenceEngine(pair, config), pair, config)
    for domain in DOMAINS:
        [prompt] = load_prompts(domain, limit=1)
        record = bench.run(prompt)
        assert record.verdict is Verdict.IDENTICAL, record.message
        # The built-in draft model still drafts for it.
        assert int(record.steps["accepted_length"].sum()) > 0


def test_a_quantised_target_is_sampled_from(written):
    config = settings(written("Q4_0"), sampling=Sampling(temperature=1.0))
    pair = load_pair(config, lambda line: None)
    [prompt] = load_prompts("math", limit=1)
    record = Bench(ReferenceEngine(pair, config), pair, config).run(prompt)
    assert record.verdict is Verdict.SAMPLED


def test_its_weights_are_the_files(written, source):
    """Read back by `gguf` itself: embeddings, and a key projection, whose rows are reordered."""
    path = written("Q4_0")
    pair = load_pair(settings(path), lambda line: None)
    assert pair.descriptions["target"]["name"] == "Q4_0.gguf"
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    loaded = pair.target.model.state_dict()
    embeddings = tensors["token_embd.weight"]
    expected = torch.from_numpy(dequantize(embeddings.data, embeddings.tensor_type))
    torch.testing.assert_close(loaded["model.embed_tokens.weight"], expected, rtol=0, atol=0)
    original = source[0].state_dict()
    for name, weight in original.items():
        # Four bits: sixteen steps between the extremes of a block of 32.
        assert float((loaded[name] - weight).abs().max()) <= float(weight.abs().max()) / 8 + 1e-6
    assert float((loaded["model.embed_tokens.weight"] - expected).abs().max()) == 0
    assert not torch.equal(expected, original["model.embed_tokens.weight"])


def test_prompts_are_tokenised_as_by_the_built_in_tokenizer(written):
    ours = load_pair(settings(written("Q8_0")), lambda line: None)
    builtin = load_pair(RunConfig(), lambda line: None)
    assert ours.stop_token_ids == builtin.stop_token_ids
    for domain in DOMAINS:
        for prompt in load_prompts(domain, limit=10):
            assert ours.encode(prompt.text) == builtin.encode(prompt.text)
    assert "notes" not in ours.descriptions["draft"]


def test_an_output_ends_with_whatever_ends_a_text_or_a_turn(source, tmp_path):
    model, tokenizer = source
    own = (("tokenizer.ggml.eot_token_id", 7), ("tokenizer.ggml.eom_token_id", 9))
    path = write_gguf(tmp_path / "turns.gguf", model, tokenizer, "F32", settings=own)
    pair = load_pair(settings(path), lambda line: None)
    assert pair.stop_token_ids == {tokenizer.eos_token_id, 7, 9}


def test_a_file_that_ends_too_early(written, tmp_path):
    path = tmp_path / "short.gguf"
    path.write_bytes(written("Q4_0").read_bytes()[:100_000])
    with pytest.raises(ModelError, match="--spec-target: cannot load the") as caught:
        load_pair(settings(path), lambda line: None)
    assert "\n" not in str(caught.value)


def test_a_file_without_a_tensor_is_refused_by_name(source, tmp_path):
    model, tokenizer = source
    state = model.state_dict()

    class WithoutOneLayer:
        config = model.config

        def state_dict(self):
            return {name: state[name] for name in state if "layers.3.mlp.up_proj" not in name}

    path = write_gguf(tmp_path / "holes.gguf", WithoutOneLayer(), tokenizer, "F16")
    with pytest.raises(ModelError, match=r"has no model\.layers\.3\.mlp\.up_proj\.weight"):
        load_pair(settings(path), lambda line: None)


def scaled(source, rope):
    """The built-in target with other rotary embeddings."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    theta = source[0].config.rope_parameters["rope_theta"]
    config = LlamaConfig(
        **source[0].config.to_dict() | {"rope_parameters": {"rope_theta": theta} | rope}
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(source[0].state_dict())
    return model.eval()


def loaded(path):
    return load_pair(settings(path), lambda line: None).target


def differ(one, other):
    ids = torch.arange(2, 90)[None]
    with torch.inference_mode():
        return float((one(ids).logits - other(ids).logits).abs().max())


def test_rope_factors_of_a_tensor_are_applied(source, tmp_path):
    """As in Llama 3.1 and later: without them, every logit after the first is another model's."""
    rope = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    model, (plain, tokenizer) = scaled(source, rope), source
    factors = plain.model.rotary_emb.inv_freq / model.model.rotary_emb.inv_freq
    assert float(factors.min()) == 1
    assert float(factors.max()) == pytest.approx(8)
    path = write_gguf(
        tmp_path / "llama3.gguf",
        plain,
        tokenizer,
        "F32",
        tensors=[("rope_freqs.weight", factors)],
    )
    assert differ(loaded(path).model, model) < 1e-4
    assert differ(plain, model) > 0.5


@pytest.mark.parametrize(
    "keys",
    [
        [("llama.rope.scaling.type", "linear"), ("llama.rope.scaling.factor", 4.0)],
        [("llama.rope.scale_linear", 4.0)],
    ],
)
def test_linear_rope_scaling_is_applied(source, tmp_path, keys):
    model = scaled(source, {"rope_type": "linear", "factor": 4.0})
    path = write_gguf(tmp_path / "linear.gguf", *source, "F32", settings=keys)
    assert differ(loaded(path).model, model) < 1e-4
    assert differ(source[0], model) > 0.1


def test_settings_without_effect_are_allowed(source, tmp_path):
    keys = [
        ("llama.attention.causal", True),
        ("llama.expert_count", 0),
        ("llama.attention.key_length", source[0].config.head_dim),
        ("llama.rope.scaling.type", "none"),
        ("llama.rope.scaling.finetuned", False),
        ("llama.rope.scaling.original_context_length", 64),
        ("llama.logit_scale", 1.0),
    ]
    path = write_gguf(tmp_path / "same.gguf", *source, "F32", settings=keys)
    assert differ(loaded(path).model, source[0]) < 1e-5


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("llama.attention.causal", False, "llama.attention.causal = False"),
        ("llama.attention.scale", 0.25, "llama.attention.scale = 0.25"),
        ("llama.attention.sliding_window", 16, "llama.attention.sliding_window = 16"),
        ("llama.attn_logit_softcapping", 30.0, "llama.attn_logit_softcapping = 30"),
        ("llama.embedding_scale", 12.0, "llama.embedding_scale = 12"),
        ("llama.expert_count", 8, "llama.expert_count = 8"),
        ("llama.final_logit_softcapping", 30.0, "llama.final_logit_softcapping = 30"),
        ("llama.logit_scale", 0.25, "llama.logit_scale = 0.25"),
        ("llama.residual_scale", 0.5, "llama.residual_scale = 0.5"),
        ("llama.rope.dimension_sections", 4, r"llama.rope.dimension_sections = 4"),
        ("llama.rope.freq_base_swa", 1e4, r"llama.rope.freq_base_swa = 10000"),
        ("llama.rope.scaling.attn_factor", 1.2, r"llama.rope.scaling.attn_factor = 1.2"),
        ("llama.rope.scaling.type", "yarn", r"llama.rope.scaling.type = yarn"),
        ("llama.something.new", 3, r"llama.something.new = 3"),
        ("clip.has_vision_encoder", True, "clip.has_vision_encoder, of which it is not known"),
    ],
)
def test_what_the_loader_passes_over_is_refused(source, written, key, value, message):
    contents = read_gguf(written("F32"))
    head, _, rest = key.partition(".")
    added = (
        {"others": (key,)} if head == "clip" else {"settings": contents.settings | {rest: value}}
    )
    complete_gguf(copied(source), contents)
    with pytest.raises(ModelError, match=message):
        complete_gguf(copied(source), replace(contents, **added))


def test_a_refused_file_is_not_said_to_be_broken(source, tmp_path):
    keys = [("llama.logit_scale", 0.25), ("clip.has_vision_encoder", True)]
    path = write_gguf(tmp_path / "more.gguf", *source, "F32", settings=keys)
    assert read_gguf(path).others == ("clip.has_vision_encoder",)
    with pytest.raises(ModelError, match="--spec-target: .* clip.has_vision_encoder, of") as caught:
        load_pair(settings(path), lambda line: None)
    assert "download" not in str(caught.value)


@pytest.mark.parametrize("name", ["blk.0.attn_q.scale", "blk.1.ffn_up.input_scale"])
def test_a_factor_beside_a_weight_is_refused_by_name(source, tmp_path, name):
    path = write_gguf(tmp_path / "scaled.gguf", *source, "F16", tensors=[(name, [1.0])])
    with pytest.raises(ModelError, match=rf"the file has {name} beside the weights") as caught:
        load_pair(settings(path), lambda line: None)
    assert "--spec-engine llama-cpp" in str(caught.value)
    assert "whole" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["blk.1.attn_q_norm.weight", "blk.9.ffn_up.weight", "rope_factors_long.weight"]
)
def test_tensors_that_the_loader_passes_over_are_refused(source, written, name):
    contents = read_gguf(written("F32"))
    more = replace(contents, sizes=contents.sizes | {name: 2})
    with pytest.raises(ModelError, match=f"the file has {name} and 2 values more"):
        complete_gguf(copied(source), more)


def test_rope_factors_of_another_number_are_refused(source, written):
    contents = replace(read_gguf(written("F32")), factors=torch.ones(2))
    with pytest.raises(ModelError, match=r"rope_freqs\.weight has 2 values, and the model \d+ rot"):
        complete_gguf(copied(source), contents)


def copied(source):
    return copy.deepcopy(source[0])
