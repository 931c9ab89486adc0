"""llama.cpp through llama-cpp-python, which the extra `[llamacpp]` installs, on a tiny GGUF pair.

The built-in pair is written as GGUF files for it. With DRAFTPROOF_GGUF_TARGET and
DRAFTPROOF_GGUF_DRAFT, a real pair runs as well.
"""

import os
import re
import runpy
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed; run: tox -e llamacpp")
pytest.importorskip("gguf", reason="gguf is not installed; run: tox -e llamacpp")

import urllib3
from gguf_writer import write_gguf

from draftproof.config import RunConfig, Sampling
from draftproof.data.load import load_prompts
from draftproof.engines.llama_cpp import LlamaCppEngine
from draftproof.engines.measuring import Bench
from draftproof.engines.openai import OpenAIEngine
from draftproof.engines.protocol import Request
from draftproof.errors import EngineError, ModelError, UsageError
from draftproof.models.loading import load_pair
from draftproof.stopping import Stopping
from draftproof.trace import Verdict

# Warnings of the library's own making.
pytestmark = pytest.mark.filterwarnings("ignore")

REAL = ("DRAFTPROOF_GGUF_TARGET", "DRAFTPROOF_GGUF_DRAFT")


@pytest.fixture(scope="module")
def pair():
    return load_pair(RunConfig(), lambda line: None)


@pytest.fixture(scope="module")
def files(pair, tmp_path_factory):
    """The built-in pair as GGUF files: target, draft."""
    folder = tmp_path_factory.mktemp("gguf")
    models = {"target": pair.target.model, "draft": pair.draft.model}
    return {
        role: str(write_gguf(folder / f"{role}.gguf", model, pair.tokenizer, "F32"))
        for role, model in models.items()
    }


@pytest.fixture(scope="module")
def prompts():
    return [prompt for domain in ("code", "chat") for prompt in load_prompts(domain, limit=2)]


@pytest.fixture
def make(pair, files):
    """Makes an engine; every one is closed at the end."""
    made = []

    def make(draft, **options):
        given = {
            "model": files["target"],
            "draft": files.get(draft, draft),
            "context": 512,
            "threads": 1,
            **options,
        }
        config = RunConfig(engine_options=tuple((k, str(v)) for k, v in given.items()))
        engine = LlamaCppEngine(config, pair)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


def ask(pair, text="Write a short list.", limit=24, stops=(), strings=(), **sampling):
    return Request(
        request_id=text,
        prompt_token_ids=pair.encode(text),
        sampling=Sampling(**sampling),
        stopping=Stopping(
            max_new_tokens=limit,
            stop_token_ids=frozenset(stops),
            stop_strings=strings,
            decode=pair.decode,
        ),
    )


@pytest.mark.parametrize("draft", ["lookup", "draft", "target"])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_every_case_is_measured_and_judged(pair, make, prompts, draft, temperature):
    config = RunConfig(max_new_tokens=32, sampling=Sampling(temperature=temperature))
    bench = Bench(make(draft), pair, config)
    for prompt in prompts:
        record = bench.run(prompt)
        expected = (Verdict.SAMPLED,) if temperature else (Verdict.IDENTICAL, Verdict.NUMERICAL)
        assert record.verdict in expected, record.message
        tokens = len(record.speculative.token_ids)
        assert record.steps["committed_tokens"].sum() == tokens - 1
        assert not record.contradictions
        if draft == "target" and not temperature:
            assert (record.steps["accepted_length"] == record.steps["nodes"]).all()


def test_it_computes_what_the_target_does(pair, make, prompts):
    """The GGUF is the target: its greedy output is ours, up to what rounding explains."""
    from draftproof.engines.reference import ReferenceEngine

    config = RunConfig(max_new_tokens=24)
    reference = ReferenceEngine(pair, config)
    bench = Bench(reference, pair, config)
    engine = make("lookup")
    same = [
        engine.plain(bench.request(prompt)).token_ids
        == reference.plain(bench.request(prompt)).token_ids
        for prompt in prompts
    ]
    assert sum(same) >= len(same) - 1


@pytest.mark.parametrize("draft", ["lookup", "draft"])
def test_a_stop_token_anywhere_in_a_block_ends_the_output(pair, make, draft):
    engine = make(draft)
    output = engine.plain(ask(pair)).token_ids
    for token in list(dict.fromkeys(output))[:8]:
        generation = engine.speculate(ask(pair, stops={token}))
        assert generation.token_ids == output[: output.index(token) + 1]
        assert generation.stop_reason == "stop_token"
        assert len(generation.accepted) == len(generation.token_ids)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8])
def test_no_output_is_longer_than_its_limit(pair, make, limit):
    generation = make("draft").speculate(ask(pair, limit=limit))
    assert len(generation.token_ids) == limit
    assert generation.counts.accepted <= generation.counts.drafted


def test_outputs_depend_on_the_request_alone(pair, make):
    fresh, used = make("draft"), make("draft")
    request = ask(pair, "Tell me a story.", limit=40, temperature=0.9)
    for text in ("one two one two", "Tell me a story.", "Sort a list."):
        used.speculate(ask(pair, text, limit=40, temperature=0.9))
    again, first = used.speculate(request), fresh.speculate(request)
    assert again.token_ids == first.token_ids
    assert again.accepted == first.accepted
    seeds = {fresh.speculate(replace(request, seed=seed)).token_ids for seed in range(3)}
    assert len(seeds) == 3


def test_the_draft_length_is_kept(pair, make):
    for length in (1, 4):
        generation = make("draft", draft_length=length).speculate(ask(pair, limit=40))
        assert generation.steps["nodes"].max() == length


def test_drafts_beyond_512_tokens_need_logits_all(pair, make, prompts):
    """The library's own fault. When this fails it has mended it: say so in docs/engines.md."""
    long = ask(pair, "Write a short list. " * 200, limit=4)
    assert len(long.prompt_token_ids) > 512
    with pytest.raises(ValueError, match="could not broadcast"):
        make("draft", context=2048).speculate(long)
    mended = make("draft", context=2048, logits_all="true")
    assert mended.plain(long).token_ids == mended.speculate(long).token_ids


def test_the_reproduction_with_the_library_alone_reproduces_it(files, capsys):
    path = Path(__file__).parents[2] / "docs" / "examples" / "llama_cpp_long_prompt.py"
    assert runpy.run_path(str(path))["main"](files["target"]) == 1
    plain, drafts, mended = re.findall(
        r"^(?:no drafts|drafts|drafts and logits_all) {2,}(.*)$", capsys.readouterr().out, re.M
    )
    assert plain == mended
    assert drafts.startswith("ValueError: could not broadcast")


def test_a_request_that_does_not_fit(pair, make):
    with pytest.raises(EngineError, match="do not fit into the context of 512"):
        make("lookup").speculate(ask(pair, limit=600))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "missing.gguf"}, "model=missing.gguf: is not a .gguf file"),
        ({"draft": "missing.gguf"}, "is neither a .gguf file nor 'lookup'"),
        ({"draft_length": 0}, "draft_length=0: give at least 1"),
        ({"thread": 2}, "did you mean 'threads'?"),
    ],
)
def test_bad_settings_are_refused(make, options, message):
    given = {"draft": "lookup", **options}
    with pytest.raises(UsageError) as refused:
        make(given.pop("draft"), **given)
    assert message in str(refused.value)


def test_a_gguf_with_another_vocabulary_is_refused(pair, make, files, tmp_path):
    class Swapped:
        """The tokenizer with two words swapped."""

        def __getattr__(self, name):
            return getattr(pair.tokenizer, name)

        def get_vocab(self):
            words = dict(pair.tokenizer.get_vocab())
            words["!"], words["#"] = words["#"], words["!"]
            return words

    path = write_gguf(tmp_path / "swapped.gguf", pair.target.model, Swapped(), "F32")
    with pytest.raises(ModelError, match="the judge and the engine must have one tokenizer"):
        make("lookup", model=path)


def test_a_file_that_is_no_gguf(make, tmp_path):
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"no gguf")
    with pytest.raises(ModelError, match="llama.cpp cannot load"):
        make("lookup", model=path)


@pytest.fixture(scope="module")
def server(files):
    """A real server of llama-cpp-python on the target, with prompt lookup."""
    pytest.importorskip("starlette_context", reason="llama-cpp-python[server] is not installed")
    port = 8000 + os.getpid() % 20000
    process = subprocess.Popen(
        f"{sys.executable} -m llama_cpp.server --model {files['target']} --port {port} --n_ctx 512 "
        "--n_threads 1 --logits_all true --draft_model prompt-lookup-decoding "
        "--draft_model_num_pred_tokens 4".split(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(url, process):
    for _ in range(300):
        assert process.poll() is None, "the server ended"
        try:
            if urllib3.request("GET", f"{url}/v1/models", retries=False).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            time.sleep(0.1)
    pytest.fail("the server did not start")


def test_a_real_server(pair, server, prompts):
    """Ids by the texts of tokens: cases of which they are not known fail with the reason."""
    given = {"url": server, "server": "llama-cpp-python", "retries": 0}
    config = RunConfig(
        max_new_tokens=16, engine_options=tuple((k, str(v)) for k, v in given.items())
    )
    engine = OpenAIEngine(config, pair)
    bench = Bench(engine, pair, config)
    judged = 0
    for prompt in prompts:
        try:
            record = bench.run(prompt)
        except EngineError as error:
            assert "so that its id is not known" in str(error) or "counts" in str(error)  # noqa: PT017
        else:
            assert record.verdict in (Verdict.IDENTICAL, Verdict.NUMERICAL), record.message
            judged += 1
    engine.close()
    assert judged >= 1


@pytest.mark.skipif(
    not all(os.environ.get(name) for name in REAL), reason=f"{' and '.join(REAL)} are not set"
)
def test_a_real_pair():
    target, draft = (os.environ[name] for name in REAL)
    settings = RunConfig(target=target, draft=draft, dtype="bfloat16")
    real = load_pair(settings, lambda line: None)
    given = {"model": target, "draft": draft, "context": 512, "threads": 2}
    config = replace(
        settings,
        max_new_tokens=16,
        engine_options=tuple((k, str(v)) for k, v in given.items()),
    )
    engine = LlamaCppEngine(config, real)
    generation = engine.speculate(ask(real, limit=16, stops=real.stop_token_ids))
    assert (
        generation.token_ids
        == engine.plain(ask(real, limit=16, stops=real.stop_token_ids)).token_ids
    )
    assert generation.counts.accepted > 0
    engine.close()
