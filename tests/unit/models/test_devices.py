"""Target and draft model on different devices, or a target on several."""

from dataclasses import replace

import pytest
import torch
from checkpoints import save_checkpoint

from draftproof.batch.hugging_face import HuggingFaceRows
from draftproof.config import RunConfig, Sampling
from draftproof.engines.protocol import Request
from draftproof.engines.reference import ReferenceEngine
from draftproof.errors import ModelError, UsageError
from draftproof.models.hugging_face import HuggingFaceLM
from draftproof.models.loading import choose_devices, load_pair
from draftproof.models.moved import MovedLM
from draftproof.shapes import parse_tree
from draftproof.stopping import Stopping


class Elsewhere(torch.Tensor):
    """A tensor of another device: nothing is computed from it and from one of here."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            if getattr(func, "__name__", "") == "to" and args[1:] == (torch.device("cpu"),):
                return args[0].as_subclass(torch.Tensor)
            tensors = [t for t in _flat(args) if isinstance(t, torch.Tensor) and t.dim()]
        if not all(isinstance(each, Elsewhere) for each in tensors):
            raise RuntimeError("tensors of two devices")
        return super().__torch_function__(func, types, args, kwargs or {})


def _flat(values):
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


@pytest.fixture
def pair(monkeypatch):
    """The built-in pair, its draft model's logits on another device."""
    pair = load_pair(RunConfig(dtype="float64"), lambda line: None)
    draft = pair.draft.model
    for kind, name in (
        (HuggingFaceLM, "_forward"), (HuggingFaceLM, "recompute"), (HuggingFaceRows, "_forward"),
    ):  # fmt: skip
        forward = getattr(kind, name)

        def elsewhere(self, *arguments, forward=forward, **options):
            logits = forward(self, *arguments, **options)
            return logits.as_subclass(Elsewhere) if self.model is draft else logits

        monkeypatch.setattr(kind, name, elsewhere)
    return pair


def moved(pair):
    return replace(pair, draft=MovedLM(pair.draft, torch.device("cpu")))


@pytest.mark.parametrize(
    ("tree", "temperature"),
    [("3x2", 0.0), ("chain:3", 1.0), ("best-first:6,depth=3,branching=2", 1.0)],
)
@pytest.mark.parametrize("in_batches", [True, False])
def test_everything_after_the_draft_model_happens_where_the_target_is(
    pair, tree, temperature, in_batches
):
    config = RunConfig(
        tree=parse_tree(tree), sampling=Sampling(temperature=temperature), check_state=0.5
    )
    request = Request(
        request_id="one",
        prompt_token_ids=pair.encode("Name three cities."),
        sampling=config.sampling,
        stopping=Stopping(max_new_tokens=12),
    )

    def decoded(pair):
        engine = ReferenceEngine(pair, config)
        assert engine._rows is not None
        loop = ReferenceEngine.of(engine._parts, config)
        return (engine if in_batches else loop).speculate(request)

    with pytest.raises(RuntimeError, match="two devices"):
        decoded(pair)
    found = decoded(moved(pair))
    assert type(found.nodes["target_probability"][0]) is not Elsewhere
    here = load_pair(RunConfig(dtype="float64"), lambda line: None)
    assert found.token_ids == decoded(here).token_ids


def test_a_target_in_parts_is_decoded_as_a_whole_one(tmp_path):
    """Some layers are read from the disk for each pass, by the hooks that move tensors too."""
    from transformers import AutoModelForCausalLM

    folder = save_checkpoint(tmp_path / "model", stops=False)
    whole = HuggingFaceLM(AutoModelForCausalLM.from_pretrained(folder).eval())
    names = [name for name, _ in whole.model.named_modules()]
    layers = [name for name in names if name.split(".")[-1].isdigit()]
    places = {"model.embed_tokens": "cpu", "model.norm": "cpu", "lm_head": "cpu"}
    places |= {"model.rotary_emb": "cpu"} if "model.rotary_emb" in names else {}
    places |= dict.fromkeys(layers, "disk")
    parted = HuggingFaceLM(
        AutoModelForCausalLM.from_pretrained(
            folder, device_map=places, offload_folder=tmp_path / "offloaded"
        ).eval()
    )
    assert "disk" in parted.model.hf_device_map.values()
    tokens = torch.tensor([[1, 2, 3, 4]])
    parents = (-1, -1, 0, 1)
    found = []
    for lm in (whole, parted):
        rows = HuggingFaceRows(lm.model)
        rows.start([0], [[1, 2, 3]])
        first = rows.score(tokens, parents)
        rows.commit([[1, 3]])
        found.append(torch.cat([first, rows.score(tokens[:, :1], (-1,))], 1))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize(
    ("device", "draft", "expected"),
    [
        ("auto", None, ("cuda", "cuda")),
        ("cuda:1", None, ("cuda:1", "cuda:1")),
        ("cuda:0", "cuda:1", ("cuda:0", "cuda:1")),
        ("cuda", "cpu", ("cuda", "cpu")),
        ("spread", None, ("cuda", "cuda")),
        ("spread", "cuda:1", ("cuda", "cuda:1")),
    ],
)
def test_where_the_models_go(two_gpus, device, draft, expected):
    found = choose_devices(RunConfig(device=device, draft_device=draft))
    assert (str(found["target"]), str(found["draft"])) == expected


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"device": "cuda:2"}, "--spec-device cuda:2: .* sees no such device here"),
        ({"draft_device": "cuda:7"}, "--spec-draft-device cuda:7: .* use --spec-draft-device auto"),
    ],
)
def test_a_device_that_is_not_there_is_refused(two_gpus, settings, said):
    with pytest.raises(ModelError, match=said):
        choose_devices(RunConfig(**settings))


@pytest.mark.parametrize("name", ["cuda:", "cuda:x", "cpu:0", "spread"])
def test_what_is_no_device_is_refused(name):
    with pytest.raises(UsageError, match="--spec-draft-device: unknown value"):
        RunConfig(draft_device=name)


def test_nothing_is_spread_over_no_accelerator(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ModelError, match="sees no accelerators here"):
        choose_devices(RunConfig(device="spread"))
