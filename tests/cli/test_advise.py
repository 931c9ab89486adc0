"""``draftproof record``, ``replay`` and ``advise`` on the built-in models, and how they refuse."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from draftproof.cli import main
from draftproof.data.load import load_prompts
from draftproof.replay.storage import JOURNAL_FILE, load_recording
from draftproof.report import write_report
from draftproof.shapes import parse_tree
from draftproof.trace import CaseRecord, DecodedOutput, Verdict


def run(capsys, *words):
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, *words):
    code, _, err = run(capsys, *words)
    assert code == 4
    assert err.count("\n") == 1, err
    return err


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Three prompts a domain, 12 tokens each, with both built-in draft models."""
    folder = tmp_path_factory.mktemp("advise") / "recording"
    words = ["record", "--drafts", "builtin,builtin-small,lookup", "--limit", "3", "--no-costs"]
    code = main([*words, "--max-new-tokens", "12", "--out", str(folder)])
    assert code == 0
    return folder


@pytest.fixture(scope="module")
def costs(recording):
    path = recording.parent / "costs.json"
    drafts = {"builtin": {"1": 0.6, "40": 0.9}, "builtin-small": {"1": 0.3, "40": 0.5}}
    path.write_text(json.dumps({"target": {"1": 2, "40": 4}, "drafts": drafts}))
    return path


def test_a_recording_says_what_it_holds(recording):
    made = load_recording(recording)
    assert made.complete
    assert made.info.drafts == ("builtin", "builtin-small")
    assert made.domains == ("code", "math", "logic", "chat")
    assert len(made.cases) == 12
    assert all(case.committed <= 12 for case in made.cases)


@pytest.mark.parametrize(("temperature", "overrun"), [(0, 0), (1, 8)])
def test_prompts_recorded_at_once_are_recorded_as_alone(capsys, tmp_path, overrun, temperature):
    words = ["record", "--limit", 2, "--no-costs", "--max-new-tokens", 6, "--overrun", overrun]
    words += ["--dtype", "float64", "--temperature", temperature]
    assert run(capsys, *words, "--out", tmp_path / "alone")[0] == 0
    code, out, _ = run(capsys, *words, "--batch", 3, "--out", tmp_path / "together")
    assert (code, "3 prompts are decoded at once" in out) == (0, True)
    alone, together = (load_recording(tmp_path / name).cases for name in ("alone", "together"))
    assert len(alone) == 8
    for one, other in zip(alone, together, strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist()
        assert len(one.token_ids) == one.committed + overrun
        assert (one.committed, one.stop_reason) == (other.committed, other.stop_reason)


def test_a_recording_of_other_settings_is_not_gone_on_with(capsys, recording):
    words = ("record", "--limit", 3, "--no-costs", "--max-new-tokens", 13, "--out", recording)
    assert "another recording (setting max_new_tokens: " in refused(capsys, *words)


def test_replay_without_costs_has_acceptance_alone(capsys, recording):
    words = ("replay", recording, "--tree", "chain:3", "--tree", "2x2", "--tree", "lookup:4")
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert "The built-in models are toys" in out
    assert "builtin-small, chain:3" in out
    assert "speedup" not in out
    code, out, _ = run(capsys, *words, "--draft", "builtin", "--domain", "math", "--json")
    rows = json.loads(out)["rows"]
    assert [row["setting"] for row in rows] == [
        "builtin, chain:3",
        "builtin, 2x2",
        "lookup, lookup:4,ngram=3",
    ]
    assert all(row["block_efficiency"]["value"] >= 1 for row in rows)


def test_replay_equals_a_live_run_of_the_built_in_pair(capsys, recording):
    from draftproof.config import RunConfig
    from draftproof.engines.measuring import Bench
    from draftproof.engines.reference import ReferenceEngine
    from draftproof.models.loading import load_pair
    from draftproof.shapes import parse_tree

    config = RunConfig(tree=parse_tree("3x2"), max_new_tokens=12)
    pair = load_pair(config)
    bench = Bench(ReferenceEngine(pair, config), pair, config)
    steps = accepted = drafted = 0
    for prompt in load_prompts("logic", limit=3):
        told = bench.engine.speculate(bench.request(prompt)).steps
        steps += len(told["step"])
        accepted += int(told["accepted_length"].sum())
        drafted += int(told["nodes"].sum())
    words = ("--draft", "builtin", "--domain", "logic", "--json")
    _, out, _ = run(capsys, "replay", recording, "--tree", "3x2", *words)
    [row] = json.loads(out)["rows"]
    assert (row["steps"], row["accepted"], row["drafted"]) == (steps, accepted, drafted)


def test_advise_writes_its_files(capsys, recording, costs, tmp_path):
    budget, page, as_json = (tmp_path / name for name in ("b.json", "p.html", "a.json"))
    words = ("advise", recording, "--costs", costs, "--resamples", 100, "--max-depth", 4)
    files = ("--budget", budget, "--page", page, "--json", as_json)
    code, out, err = run(capsys, *words, *files)
    assert (code, err) == (0, "")
    assert "For servers" in out
    assert set(json.loads(budget.read_text())["domains"]) == {"code", "math", "logic", "chat"}
    advised = json.loads(as_json.read_text())["domains"]["code"]["advised"]
    assert advised["draft"] in ("builtin", "builtin-small", "lookup", "none")
    html = page.read_text()
    assert "Content-Security-Policy" in html
    assert 'id="factor"' in html
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")


def test_drafts_deeper_than_what_was_recorded_after_an_output_are_said(capsys, recording):
    words = ("replay", recording, "--draft", "builtin", "--domain", "math", "--tree", "chain:8")
    assert "counted too low" not in run(capsys, *words)[1]
    code, out, _ = run(capsys, *words, "--tree", "chain:12")
    assert code == 0
    assert "builtin, chain:12: deeper than the 8 tokens" in out
    assert "--overrun 12" in out
    assert "--tree: cannot read 'x'" in refused(capsys, "replay", recording, "--tree", "x")


def test_what_cannot_be_used_says_why(capsys, recording, costs, tmp_path):
    replay, advise = ("replay", recording), ("advise", recording, "--costs", costs)
    assert "give at least one --tree" in refused(capsys, *replay)
    assert "record again with --k 17" in refused(capsys, *replay, "--tree", "1x17")
    assert "a recording does not decide" in refused(capsys, *replay, "--tree", "best-first:4")
    assert "did you mean 'builtin'" in refused(
        capsys, *replay, "--tree", "3x2", "--draft", "bultin"
    )
    assert "did you mean 'logic'" in refused(capsys, *replay, "--tree", "3x2", "--domain", "logik")
    assert "unknown value 'other'" in refused(capsys, *advise, "--drafts", "other")
    assert "the recording is of 'builtin'" in refused(capsys, *advise, "--target", "mine")
    assert "at least 1" in refused(capsys, *advise, "--max-nodes", 0)
    assert "give 100 or more" in refused(capsys, *advise, "--resamples", 9)
    assert "there are no costs at" in refused(capsys, "advise", recording)
    assert "there is no recording at" in refused(capsys, "advise", tmp_path, "--costs", costs)
    narrow = tmp_path / "narrow.json"
    narrow.write_text('{"target": {"1": 2, "2": 2}, "drafts": {"builtin": {"1": 1}}}')
    wide = refused(capsys, *replay, "--costs", narrow, "--tree", "chain:4", "--draft", "builtin")
    assert "no forward pass over 5 tokens, only up to 2" in wide
    one = refused(capsys, "advise", recording, "--costs", narrow)
    assert "the costs have no draft model 'builtin-small'" in one
    for words in (("--drafts", "lookup"), ("--drafts", "target"), ("--k", 0)):
        refused(capsys, "record", "--out", tmp_path / "x", *words)
    assert "is a file; give the path of a folder" in refused(capsys, "record", "--out", narrow)
    both = ("--from", tmp_path, "--texts", costs)
    assert "give one of them" in refused(capsys, "record", "--out", tmp_path / "x", *both)


def test_a_recording_along_texts_of_another_origin(capsys, tmp_path):
    texts = tmp_path / "log.jsonl"
    rows = [
        {"prompt": f"Say {word}.", "output": f"{word} it is", "id": word} for word in ("a", "b")
    ]
    texts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "recording"
    code, said, _ = run(capsys, "record", "--texts", texts, "--out", out, "--no-costs")
    assert code == 0
    assert "off-policy: 2 texts of log.jsonl" in said
    _, said, _ = run(capsys, "replay", out, "--tree", "chain:2")
    assert "not the target's own text" in said
    assert not (out / JOURNAL_FILE).exists()
    texts.write_text('{"prompt_token_ids": [1], "output_token_ids": [999999]}')
    unknown = refused(capsys, "record", "--texts", texts, "--out", tmp_path / "x", "--no-costs")
    assert "the ids are another tokenizer's" in unknown


@pytest.mark.parametrize("kind", ["prompts", "texts"])
def test_other_prompts_under_the_same_ids_are_not_gone_on_with(capsys, tmp_path, kind):
    path, out = tmp_path / "own.jsonl", tmp_path / "recording"
    given = {"prompts": "--jsonl", "texts": "--texts"}[kind]
    words = ("record", given, path, "--out", out, "--no-costs", "--max-new-tokens", "4")

    def written(prompt, output):
        path.write_text(json.dumps({"id": "a", "prompt": prompt, "output": output}))

    written("Say a.", "It is a")
    assert run(capsys, *words)[0] == 0
    assert run(capsys, *words)[0] == 0
    written("Say b.", "It is a")
    assert "a is another prompt or text" in refused(capsys, *words)
    if kind == "texts":
        written("Say a.", "It is b")
        assert "a is another prompt or text" in refused(capsys, *words)


@pytest.mark.parametrize(
    "limits", [("--max-siblings", 1), ("--max-nodes", 1), ("--max-nodes", 2, "--max-depth", 3)]
)
def test_small_limits_leave_chains(capsys, recording, costs, limits):
    """No tree is wider than one token, and none, chains included, larger than was asked."""
    found = recording.parent / "small.json"
    words = ("advise", recording, "--costs", costs, "--json", found, *limits)
    assert run(capsys, *words)[0] == 0
    nodes = dict(zip(limits[::2], limits[1::2], strict=True)).get("--max-nodes", 99)
    for domain in json.loads(found.read_text())["domains"].values():
        for each in domain["compared"]:
            if each["kind"] not in ("none", "default"):
                assert parse_tree(each["tree"]).most_nodes <= nodes, each


def test_texts_without_an_output_are_left_out(capsys, tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [{"prompt_token_ids": [5, 6], "output_token_ids": [2529]} for _ in range(3)]
    lines.append({"prompt": "a", "output": ""})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ("record", "--texts", path, "--no-costs", "--out")
    code, out, _ = run(capsys, *words, tmp_path / "recording")
    assert (code, "1 of 4 texts have no output and are left out" in out) == (0, True)
    # An output of one token has no step.
    code, out, _ = run(capsys, "replay", tmp_path / "recording", "--tree", "chain:2")
    assert code == 0
    assert "–" in out
    path.write_text(json.dumps(lines[-1]))
    assert "no text has an output" in refused(capsys, *words, tmp_path / "other")
    path.write_text(json.dumps(lines[0]) + json.dumps({**lines[0], "prompt_token_ids": [-1]}))
    assert refused(capsys, *words, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_above_temperature_0_chains_are_drawn_and_trees_are_not(capsys, tmp_path, costs):
    out = tmp_path / "recording"
    words = ["record", "--limit", 2, "--no-costs", "--max-new-tokens", 8, "--out", out]
    assert run(capsys, *words, "--temperature", 1)[0] == 0
    made = load_recording(out)
    assert made.info.temperature == 1
    assert made.info.rollout == 0
    code, said, _ = run(capsys, "replay", out, "--tree", "chain:3", "--tree", "2x2", "--json")
    rows = json.loads(said)["rows"]
    assert code == 0
    # Expectations of drawn chains are no whole numbers; those of trees given the text are.
    assert any(row["steps"] % 1 for row in rows if "chain" in row["setting"])
    assert not any(row["steps"] % 1 for row in rows if "2x2" in row["setting"])
    early = ("replay", out, "--tree", "chain:3,gain=0.5")
    assert "a recording does not decide" in refused(capsys, *early)
    budget = tmp_path / "budget.json"
    words = ("advise", out, "--costs", costs, "--resamples", 100, "--budget", budget)
    assert run(capsys, *words, "--max-depth", 3, "--max-nodes", 4)[0] == 0
    assert json.loads(budget.read_text())["temperature"] == 1


def test_trees_of_a_size_are_told_apart(capsys, recording, tmp_path):
    """By the file, or by their nodes where they were typed; JSON has them whole."""
    wide, deep = tmp_path / "wide.json", tmp_path / "deep.json"
    wide.write_text(json.dumps([[rank] for rank in range(9)]))
    deep.write_text(json.dumps([[0] * depth for depth in range(1, 10)]))
    typed = "static:[[0],[1],[2],[3],[4],[5],[6],[7],[0,0]]"
    trees = [
        word for text in (f"static:{wide}", f"static:{deep}", typed) for word in ("--tree", text)
    ]
    words = ("replay", recording, "--draft", "builtin", "--domain", "math", *trees)
    code, said, _ = run(capsys, *words)
    assert code == 0
    assert f"({wide})" in said
    assert f"({deep})" in said
    assert typed in said
    _, said, _ = run(capsys, *words, "--json")
    rows = json.loads(said)["rows"]
    assert len({row["tree"] for row in rows}) == len({row["setting"] for row in rows}) == 3


@pytest.mark.parametrize("draft", ["none", "lookup"])
def test_a_tree_of_a_draft_model_needs_one(capsys, recording, draft):
    words = ("replay", recording, "--tree", "chain:3", "--draft", draft)
    assert f"--draft {draft} has none" in refused(capsys, *words)
    own = {"none": "none", "lookup": "lookup:3"}[draft]
    assert run(capsys, "replay", recording, "--tree", own, "--draft", draft)[0] == 0


def test_texts_are_cut_where_an_output_would_be(capsys, tmp_path):
    path, out = tmp_path / "log.jsonl", tmp_path / "recording"
    path.write_text(json.dumps({"prompt": "Say a.", "output_token_ids": list(range(300, 340))}))
    words = ("record", "--texts", path, "--out", out, "--no-costs", "--max-new-tokens", 7)
    assert run(capsys, *words)[0] == 0
    [case] = load_recording(out).cases
    assert (len(case.token_ids), case.committed) == (7, 7)
    assert case.stop_reason == "length"


@pytest.mark.parametrize("field", ["prompt", "output", "id", "domain"])
def test_half_a_character_is_refused(capsys, tmp_path, field):
    path = tmp_path / "log.jsonl"
    row = {"prompt": "Say a.", "output": "a", "id": "a", "domain": "own"}
    path.write_text(json.dumps({**row, field: "cut \ud83d"}))
    said = refused(capsys, "record", "--texts", path, "--out", tmp_path / "x", "--no-costs")
    assert f"'{field}' has half a character" in said


def test_the_label_counts_the_texts_that_were_recorded(capsys, tmp_path):
    path, out = tmp_path / "log.jsonl", tmp_path / "recording"
    rows = [
        {"prompt": "Say a.", "output": "a", "id": "a"},
        {"prompt": "b", "output": "", "id": "b"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(capsys, "record", "--texts", path, "--out", out, "--no-costs")[0] == 0
    assert load_recording(out).info.off_policy == "off-policy: 1 texts of log.jsonl"


def test_a_domain_that_a_budget_cannot_name_is_not_recorded(capsys, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"prompt": "Say a.", "output": "a", "domain": "*"}))
    words = ("record", "--texts", path, "--out", tmp_path / "x", "--no-costs")
    assert "cannot name a domain '*'" in refused(capsys, *words)


def test_errors_name_the_options_of_the_command(capsys, tmp_path):
    words = ("record", "--out", tmp_path / "x", "--no-costs")
    for given, named in (
        (("--drafts", "./gone"), "--drafts"),
        (("--target", "./gone"), "--target"),
        (("--limit", "x"), "--limit"),
        (("--temperature", "-1"), "--temperature"),
    ):
        said = refused(capsys, *words, *given)
        assert named in said
        assert "--spec-" not in said


def test_what_is_written_lies_apart(capsys, recording, costs, tmp_path):
    words = ("advise", recording, "--costs", costs)
    own = recording / "recording.json"
    assert "the recording's own" in refused(capsys, *words, "--budget", own)
    both = ("--budget", tmp_path / "a", "--json", tmp_path / "a")
    assert "the file of --budget" in refused(capsys, *words, *both)
    assert "the file of --costs" in refused(capsys, *words, "--page", costs)


def test_texts_have_prompts_and_names_of_their_own(capsys, tmp_path):
    path, out = tmp_path / "log.jsonl", tmp_path / "recording"
    rows = [{"prompt": "Say a.", "output": "a", "id": None, "domain": None} for _ in range(2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("record", "--texts", path, "--out", out, "--no-costs")
    assert "leave --limit out" in refused(capsys, *words, "--limit", 1)
    assert run(capsys, *words)[0] == 0
    made = load_recording(out)
    assert made.domains == ("own",)
    assert len({case.case_id for case in made.cases}) == 2
    path.write_text(json.dumps({**rows[0], "domain": ["a"]}))
    assert "should be a text" in refused(capsys, *words[:-2], tmp_path / "y", "--no-costs")


def test_ctrl_c_says_how_to_go_on(capsys, recording, costs, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("draftproof.cli.advising.advise_from", interrupt)
    code, _, err = run(capsys, "advise", recording, "--costs", costs)
    assert code == 130
    assert err.startswith("draftproof: interrupted")


def test_files_of_windows_editors_are_read(capsys, recording, costs, tmp_path):
    marked = tmp_path / "costs.json"
    marked.write_text(costs.read_text("utf-8"), "utf-8-sig")
    words = ("replay", recording, "--tree", "chain:2", "--costs", marked)
    assert run(capsys, *words)[0] == 0


def test_a_finished_run_gives_settings_and_outputs(capsys, tmp_path, run_info):
    [prompt] = load_prompts("math", limit=1)
    output = DecodedOutput(token_ids=(300, 301, 302), stop_reason="length", seconds=1.0)
    saved = tmp_path / "run"
    config = {"target": "builtin", "draft": "builtin", "limit": 1, "max_new_tokens": 3}
    case = CaseRecord(
        case_id=prompt.prompt_id,
        domain="math",
        prompt_tokens=9,
        verdict=Verdict.IDENTICAL,
        plain=output,
        speculative=output,
    )
    write_report(saved, replace(run_info, config=config), [case])
    words = ("record", "--from", saved, "--no-costs", "--out", tmp_path / "recording")
    assert run(capsys, *words)[0] == 0
    made = load_recording(tmp_path / "recording")
    [math] = made.cases  # of the run's own prompts: the other suites did not run
    assert math.token_ids[:3].tolist() == [300, 301, 302]
    assert math.committed == 3
    assert len(math.token_ids) == 3 + 8
    typed = refused(capsys, *words, "--limit", 2)
    assert "--from takes every setting from the run; leave --limit out" in typed
