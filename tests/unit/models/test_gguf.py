"""A GGUF target end to end: the built-in target, written with types that `gguf` quantises to."""

import pytest
import torch

from draftproof.assets import asset_path
from draftproof.config import RunConfig, Sampling
from draftproof.data import DOMAINS, load_prompts
from draftproof.engines.measuring import Bench
from draftproof.engines.reference import ReferenceEngine
from draftproof.errors import ModelError
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
