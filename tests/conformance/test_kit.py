"""Every check of the conformance kit passes on the reference engine and fails on a faulty one."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from draftproof.cli import main
from draftproof.config import RunConfig, Sampling
from draftproof.conformance import edge_draws, exact_checks, places, single_checks
from draftproof.conformance.check_result import Finding, Status
from draftproof.conformance.examined import chosen
from draftproof.conformance.kit import CHECKS, certificate, examine
from draftproof.conformance.making import make_subject
from draftproof.conformance.rendering import json_document, markdown, result_line, terminal_summary
from draftproof.conformance.subject import Judged
from draftproof.engines.reference import ReferenceEngine
from draftproof.errors import UsageError
from draftproof.shapes import parse_tree
from draftproof.trace import Verdict

sys.path.insert(0, str(Path(__file__).parent))

from fake_server import serving
from faulty_engines import LastSiblingFirst, ServesAnyTemperature

OF_SERVERS = {
    "extras with and without speculation",
    "log-probabilities",
    "streamed and whole answers",
}
"""Checks of what the reference engine does not do."""


@pytest.fixture(scope="module")
def subject():
    config = RunConfig(
        tree=parse_tree("chain:3"), max_new_tokens=14, sampling=Sampling(temperature=1.0)
    )
    return make_subject(config, prompts=1, report=lambda line: None)


@pytest.fixture(autouse=True)
def _few_edges(monkeypatch):
    monkeypatch.setattr(places, "EDGES", 5)
    monkeypatch.setattr(exact_checks, "_SHAPES", ("chain:2",))
    monkeypatch.setattr(exact_checks, "_BATCH_SHAPES", ("chain:2",))
    monkeypatch.setattr(single_checks, "SHAPES", ("3x2",))
    monkeypatch.setattr(edge_draws, "_SHAPES", ("sampled:1x2",))


def found(subject, name, engine=None):
    if engine is not None:
        subject = replace(
            subject, config=replace(subject.config, engine=f"faulty_engines:{engine}")
        )
    (examined,) = examine(subject, [name])
    return examined


@pytest.mark.parametrize("name", sorted(CHECKS.keys() - OF_SERVERS))
def test_the_reference_engine_passes(subject, name):
    examined = found(subject, name)
    assert examined.finding.status is Status.PASSED, result_line(examined)
    assert examined.finding.n > 0
    assert examined.finding.places > 0
    assert examined.claim.endswith(".")


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        ("TellsLogProbabilities", "log-probabilities"),
        ("TellsLabelsAlone", "acceptance counts"),
        ("TellsLabelsAlone", "stop token at every offset"),
        ("ServesAnyTemperature", "greedy output"),
        ("ServesAnyTemperature", "other seeds and other requests"),
        ("EndsWithItsOwnStopTokens", "length limit at every offset"),
    ],
)
def test_a_right_engine_of_another_kind_passes(subject, engine, name):
    examined = found(subject, name, engine)
    assert examined.finding.status is Status.PASSED, result_line(examined)


@pytest.mark.parametrize(
    ("engine", "name", "why"),
    [
        ("EndsWithItsOwnStopTokens", "stop token at every offset", "does not have: stop tokens"),
        ("EndsWithItsOwnStopTokens", "min_new_tokens at every offset", "stop tokens"),
        ("reference", "log-probabilities", "does not have: log-probabilities"),
    ],
)
def test_what_an_engine_does_not_promise_is_not_asked_of_it(subject, engine, name, why):
    finding = found(subject, name, None if engine == "reference" else engine).finding
    assert finding.status is Status.NOT_AVAILABLE, finding
    assert why in finding.lines[0]


@pytest.mark.parametrize(
    "name",
    ["self-draft", "stop token at every offset", "acceptance counts", "drafts of other lengths"],
)
def test_a_check_that_examined_nothing_was_not_tried(subject, name):
    finding = found(subject, name, "DraftsNothing").finding
    assert finding.status is Status.NOT_TRIED, finding
    assert finding.places == 0
    assert "to examine: " in finding.lines[0]


def test_places_of_blocks_that_are_not_told_are_called_so(subject, monkeypatch):
    monkeypatch.setattr(places, "UNTOLD_EDGES", 6)
    examined = found(subject, "length limit at every offset", "TellsNoBlocks")
    assert examined.finding.status is Status.PASSED, result_line(examined)
    assert "inside a block" not in examined.finding.place
    assert "6 places are inside one is not known" in " ".join(examined.finding.lines)


def test_a_passed_check_without_places_cannot_be_made():
    with pytest.raises(ValueError, match="was not tried"):
        Finding(status=Status.PASSED, n=3)


def test_siblings_may_be_tried_in_any_exact_order(subject):
    config = replace(subject.config, tree=parse_tree("2x2"))
    other = replace(subject, config=config, rule=LastSiblingFirst())
    (examined,) = examine(other, ["metric identities"])
    # Its rule is for temperature 0; what is above it is not what is looked at here.
    assert not any("sibling" in line for line in examined.finding.lines), result_line(examined)


def test_what_outlives_an_engine_is_seen_after_other_checks(subject):
    faulty = replace(
        subject,
        config=replace(subject.config, engine="faulty_engines:LeavesStateInItsModule"),
    )
    checks = list(examine(faulty, ["greedy output", "nothing left of earlier requests"]))
    assert checks[1].finding.status is Status.FAILED, result_line(checks[1])
    assert "something is left over from other requests" in checks[1].finding.lines[0]


def test_a_server_that_is_given_a_seed_alone_passes(subject):
    """It draws by that number, whatever the request is called."""
    engine = ReferenceEngine(subject.pair, subject.config)

    def answer(path, body):
        request = subject.request(
            body["prompt"],
            sampling=Sampling(temperature=body["temperature"]),
            max_new_tokens=body["max_tokens"],
            stop_token_ids=frozenset(body["stop_token_ids"]),
            seed=body["seed"],
        )
        made = engine.plain(request)
        finish = "length" if made.stop_reason == "length" else "stop"
        return {"choices": [{"token_ids": list(made.token_ids), "finish_reason": finish}]}

    with serving(answer) as fake:
        config = replace(subject.config, engine="openai", engine_options=(("url", fake.url),))
        server = replace(subject, config=config)
        names = ["other seeds and other requests", "same request twice"]
        for examined in examine(server, names):
            assert examined.finding.status is Status.PASSED, result_line(examined)
        server.close()


def completions(subject, *, models=None, room=None):
    """Answers of a server like vLLM: the target's own, of a context of so many tokens."""
    engine = ReferenceEngine(subject.pair, subject.config)

    def answer(path, body):
        if body is None:
            return models if path == "/v1/models" and models else 404
        if not body["prompt"] or (room and len(body["prompt"]) + body["max_tokens"] > room):
            return 400
        asked = subject.request(body["prompt"], max_new_tokens=body["max_tokens"])
        ids = list(engine.plain(asked).token_ids)
        return {"choices": [{"token_ids": ids, "finish_reason": "length"}]}

    return answer


def at_server(subject, fake, **settings):
    given = {"url": fake.url, "retries": 0, **settings}
    return replace(
        subject,
        config=replace(subject.config, engine="openai", engine_options=tuple(given.items())),
    )


@pytest.mark.parametrize("told", [60, None])
def test_a_server_of_less_room_than_its_target_is_asked_for_what_it_has(subject, told):
    models = {"data": [{"id": "default", "max_model_len": told}]} if told else None
    with serving(completions(subject, models=models, room=60)) as fake:
        server = at_server(subject, fake)
        [examined] = examine(server, ["shortest and longest prompts"])
        server.close()
        longest = max(len(body["prompt"]) for _, body, _ in fake.asked if body)
    if told:
        assert examined.finding.status is Status.PASSED, result_line(examined)
        assert longest == 56
    else:
        assert examined.finding.status is Status.FAILED
        assert "a full context: refused" in examined.finding.lines[0]


def test_where_an_engine_has_gone_the_checks_after_it_are_not_tried(subject):
    """It fails once. What was not asked of it is no fault."""
    answer = completions(subject)
    with serving(answer) as fake:
        server = at_server(subject, fake)
        names = ["greedy output", "same request twice", "length limit at every offset"]
        names.append("shortest and longest prompts")
        found = []
        for examined in examine(server, names):
            found.append(examined.finding)
            if len(found) == 1:
                fake.close()
        server.close()
    statuses = [each.status for each in found]
    assert statuses[:2] == [Status.PASSED, Status.FAILED]
    assert "cannot be reached" in found[1].lines[0]
    assert statuses[2:] == [Status.NOT_TRIED, Status.NOT_TRIED]
    assert "since it went away in 'same request twice'" in found[2].lines[0]


def test_to_die_of_an_empty_prompt_is_not_to_refuse_it(subject):
    answer, dead = completions(subject), []

    def dies(path, body):
        if body is not None and not body["prompt"]:
            dead.append(path)
        return 500 if dead else answer(path, body)

    models = {"data": [{"max_model_len": 60}]}
    answer = completions(subject, models=models)
    with serving(dies) as fake:
        server = at_server(subject, fake)
        [examined] = examine(server, ["shortest and longest prompts"])
        server.close()
    assert examined.finding.status is Status.FAILED


def test_an_engine_is_made_once_and_closed_at_the_end(subject):
    other = replace(
        subject, config=replace(subject.config, engine="faulty_engines:ServesAnyTemperature")
    )
    ServesAnyTemperature.made.clear()
    names = ["greedy output", "same request twice", "acceptance counts", "state equivalence"]
    list(examine(other, names))
    certificate(other, [], command="")
    assert ServesAnyTemperature.made == ["open"]
    other.close()
    assert ServesAnyTemperature.made == ["closed"]


def test_an_engine_of_the_runs_settings_is_made_once_for_each(subject):
    made = []

    def make(pair, config):
        made.append((pair is subject.pair, config))
        return ReferenceEngine(pair, config)

    other = replace(subject, make=make)
    names = ["greedy output", "metric identities", "drafts of other lengths", "state equivalence"]
    list(examine(other, names))
    assert len(made) == len(set(made)) == 5
    other.close()


@pytest.mark.parametrize(
    ("engine", "name", "why"),
    [
        ("WrongToken", "greedy output", "token 2, after"),
        ("IgnoresStopTokens", "stop token at every offset", "it should have ended .stop_token."),
        ("IgnoresStopStrings", "stop string at every offset", "should have ended .stop_string."),
        ("OneTooMany", "length limit at every offset", "goes on for 1 tokens after"),
        ("IgnoresLeastLength", "min_new_tokens at every offset", "not the target's own choice"),
        ("IgnoresPenalty", "repetition penalty inside a block", "not the target's own choice"),
        ("AnswersNothing", "shortest and longest prompts", "an empty prompt was answered"),
        ("CountsRequests", "same request twice", "token 13 is"),
        ("WrongToken", "drafts of other lengths", "with drafts of 1: "),
        ("SeesStopsAtTheEndOfABlock", "stop token at every offset", "should have ended .stop_tok"),
        ("QuietlySeesStopsAtTheEndOfABlock", "stop token at every offset", "should have ended"),
        ("QuietlyMissesStopsDeepInABlock", "stop token at every offset", "should have ended"),
        ("PlainObeysMore", "greedy output", "own plain decoding part, and rounding is no reason"),
        ("PlainEndsEarlier", "greedy output", "plain decoding ends after 7 tokens, and its specul"),
        (
            "CallsEverySecondAccepted",
            "acceptance counts",
            "is called accepted, and the draft model",
        ),
        ("TellsZeros", "log-probabilities", "is told as 0, and the target says -"),
        ("TellsTheNextOnes", "log-probabilities", "and the target says -"),
        ("KeepsHalf", "self-draft", "its state as a draft model, or what it"),
        (
            "CountsRequests",
            "nothing left of earlier requests",
            "its output is another one than before",
        ),
        ("KeepsLessLater", "nothing left of earlier requests", "something is left over"),
        ("MiscountsSteps", "metric identities", "accepted"),
        ("TellsBits", "facts of nodes", "node 0: its target_entropy is told as .*, and the model"),
        ("RanksFromOne", "facts of nodes", "its draft_rank is told as 1, and the model says 0"),
        ("CallsAllAccepted", "acceptance counts", "tokens of the output are called accepted, and"),
        ("CallsOthersAccepted", "acceptance counts", "called accepted, and by its steps it is not"),
        ("LosesAStep", "acceptance counts", "its steps add up to .* tokens of an output of 14"),
        ("ImpossibleCounts", "acceptance counts", "14 tokens cannot come of 1 steps that kept 2"),
        ("CountsTheBonus", "acceptance counts", "the counter of drafted says"),
        ("IgnoresTheSeed", "other seeds and other requests", "another seed has the same outputs"),
        ("SharesItsDraws", "other seeds and other requests", "another request has the same"),
        ("TooHot", "law of the output", "output differs"),
        ("Unfiltered", "law of the output under filters", "output differs"),
        ("DropsThePenaltyAboveZero", "law of the output under filters", "output differs"),
        ("DropsStopTokensAboveZero", "ends above temperature 0", "should have ended .stop_token."),
        ("DropsStopStringsAboveZero", "ends above temperature 0", "have ended .stop_string."),
        ("DropsLeastLengthAboveZero", "ends above temperature 0", "impossible so early"),
        ("OneTooMany", "ends above temperature 0", "goes on for 1 tokens after"),
        ("PlainIsTooHot", "law of the output", "plain decoding does not follow the target's law"),
        ("Dies", "greedy output", "RuntimeError: the engine has died"),
        ("Dies", "law of the output", "the engine has died"),
    ],
)
def test_a_faulty_engine_fails_and_the_message_says_how(subject, engine, name, why):
    examined = found(subject, name, engine)
    assert examined.finding.status is Status.FAILED, result_line(examined)
    assert any(re.search(why, line) for line in examined.finding.lines)


def test_the_target_of_an_engine_with_kernels_of_its_own_is_its_plain_decoding(subject):
    off = "outputs leave the judge's target where the engine's plain decoding does"
    everywhere = found(subject, "greedy output", "OtherTarget").finding
    assert everywhere.status is Status.NOT_AVAILABLE
    assert everywhere.lines[-1].startswith(f"4 of 4 {off}")
    tally = subject.tally("tokens")
    tally.add("one", Judged(None, Verdict.IDENTICAL, "", as_plain=True), 1)
    tally.add("another", Judged(None, Verdict.IDENTICAL, ""), 1)
    assert tally.finding().status is Status.PASSED
    assert tally.finding().lines[-1].startswith(f"1 of 2 {off}")
    assert found(subject, "greedy output", "ClaimsTheTarget").finding.status is Status.FAILED
    hot = found(subject, "law of the output", "TooHotServer").finding
    assert hot.status is Status.FAILED
    assert "--spec-tie-tolerance" in hot.lines[-1]
    wrong = found(subject, "greedy output", "WrongTokenOfOtherTarget").finding
    assert wrong.status is Status.FAILED
    assert "token 2, after" in wrong.lines[0]


def test_plain_decoding_of_another_law_says_nothing_of_a_server(subject):
    """Its numerics need not be the judge's; what is said of its speculation is true, though."""
    finding = found(subject, "law of the output", "PlainOfAServerIsTooHot").finding
    assert finding.status is Status.NOT_AVAILABLE
    assert "of speculation that is not shown" in finding.lines[0]
    assert "--spec-tie-tolerance" in finding.lines[-1]
    assert finding.facts["declared"]["rejected_after_cases"] is None
    assert finding.facts["control"]["rejected_after_cases"] is not None


def test_log_probabilities_that_are_never_told_are_not_said_to_be_near_0(subject):
    finding = found(subject, "log-probabilities", "TellsNone").finding
    assert finding.status is Status.NOT_TRIED
    assert "the engine tells none of any token, only NaN" in finding.lines[0]


def test_a_check_may_end_at_its_first_problem(subject):
    eager = replace(
        subject,
        config=replace(subject.config, engine="faulty_engines:WrongToken"),
        to_the_end=False,
    )
    [examined] = examine(eager, ["greedy output"])
    assert examined.finding.status is Status.FAILED
    assert len(examined.finding.lines) == 1


def test_what_an_engine_cannot_tell_is_not_available(subject):
    missing = {
        name
        for name in CHECKS
        if found(subject, name, "TellsNothing").finding.status is Status.NOT_AVAILABLE
    }
    assert missing == {
        "exact law of outputs",
        "exact law of drafts",
        "stop token at every offset",
        "stop string at every offset",
        "min_new_tokens at every offset",
        "repetition penalty inside a block",
        "shortest and longest prompts",
        "other seeds and other requests",
        "drafts of other lengths",
        "self-draft",
        "state equivalence",
        "metric identities",
        "facts of nodes",
        "acceptance counts",
        "log-probabilities",
        "draws at the edge",
        "rows and single sequences",
        "several stops at once",
        "prompts that extend earlier ones",
        "independent draws",
        "cancelled requests",
        "law of the output",
        "law of the output under filters",
        "ends above temperature 0",
        "alone and in a crowd",
        "extras with and without speculation",
        "settings of one request in a crowd",
        "streamed and whole answers",
    }
    assert found(subject, "greedy output", "TellsNothing").finding.status is Status.PASSED


def test_a_certificate_says_what_was_found_with_what(subject):
    faulty = replace(subject, config=replace(subject.config, engine="faulty_engines:Dies"))
    checks = list(examine(faulty, ["greedy output", "self-draft"]))
    made = certificate(faulty, checks, command="draftproof verify --engine faulty")
    assert [check.name for check in made.failed] == ["greedy output", "self-draft"]
    document = json.loads(json.dumps(json_document(made), allow_nan=False))
    assert document["command"] == made.command
    assert f"made by `{made.command}`" in markdown(made)
    assert document["faults_found"] == 2
    assert document["engine"]["name"] == "wrapped"
    assert document["models"]["target"]["name"] == "builtin"
    page = markdown(made)
    assert "| greedy output | Every token of every prompt's output is" in page
    assert "RuntimeError: the engine has died" in page
    assert "2 checks found a fault: 0 checks passed, 2 failed" in terminal_summary(made)


def test_an_unknown_check_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'self-draft'"):
        chosen(["self draft"], CHECKS)


def test_verify_prints_and_writes_and_its_exit_code_tells(tmp_path, capsys):
    words = ["verify", "--limit", "1", "--max-new-tokens", "6", "--check"]
    words += ["length limit at every offset", "--json", str(tmp_path / "c.json")]
    words += ["--markdown", str(tmp_path / "c.md")]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "✓ length limit at every offset" in printed
    assert "no fault found: 1 checks passed" in printed
    assert json.loads((tmp_path / "c.json").read_text())["faults_found"] == 0
    assert (tmp_path / "c.md").read_text().startswith("# Certificate: reference")
    assert main([*words, "--engine", "faulty_engines:OneTooMany"]) == 1
    assert "goes on for 1 tokens" in capsys.readouterr().out


def test_verify_reads_prompts_of_ones_own_and_pytests_spelling(tmp_path, capsys, monkeypatch):
    file = tmp_path / "own.jsonl"
    file.write_text('{"q": "Name a city."}\n{"q": "Name a river."}\n{"q": "Name a hill."}\n')
    words = ["--spec-jsonl", str(file), "--columns", "prompt=q", "--spec-limit", "2"]
    seen = []
    monkeypatch.setattr(
        "draftproof.conformance.kit.examine", lambda subject, names: seen.append(subject) or []
    )
    assert main(["verify", *words]) == 0
    assert len(seen[0].prompts) == 2
    assert {prompt.text for prompt in seen[0].prompts} < {
        "Name a city.",
        "Name a river.",
        "Name a hill.",
    }
    assert (seen[0].config.limit, str(seen[0].config.tree)) == (2, "chain:4")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--check", "self draft"], "did you mean 'self-draft'"),
        (["--engine", "referense"], "did you mean 'reference'"),
        (["--engine-option", "url"], "is not KEY=VALUE"),
        (["--json", "/nowhere/at/all.json"], "no folder /nowhere/at"),
        (["--tree", "3y2"], "--spec-tree"),
        (["--temperature", "-1"], "is not a temperature"),
        (["--temperature", "1", "--spec-temperature", "2"], "given more than once, as '1' and as"),
        (
            ["--engine-option", "a=1", "--engine-option", "a=2"],
            "a is given twice, as '1' and",
        ),
        (["--json", "a", "--json", "b"], "--json: given more than once, as 'a' and as 'b'"),
        (["--prompts", "own"], "'own' is the file of --spec-jsonl FILE; add it"),
        (["--law-alpha", "0"], "--law-alpha: 0 would fail no engine"),
    ],
)
def test_verify_refuses_what_it_cannot_use(words, problem, capsys):
    assert main(["verify", "--limit", "1", *words]) == 4
    assert problem in capsys.readouterr().err


def test_a_lookup_that_finds_nothing_is_not_tried_and_has_no_draft_model_to_replace(subject):
    """Its first steps draft nothing, so that there may be as many steps as tokens."""
    config = replace(subject.config, engine="transformers-lookup", max_new_tokens=3)
    lookup = replace(subject, config=config)
    (counts,) = examine(lookup, ["acceptance counts"])
    assert counts.finding.status is Status.NOT_TRIED, result_line(counts)
    with lookup.engine() as engine:
        answers = [engine.speculate(lookup.request(prompt)) for prompt in lookup.prompts]
    assert any(answer.counts.steps == len(answer.token_ids) for answer in answers)
    (own,) = examine(lookup, ["self-draft"])
    assert own.finding.status is Status.NOT_AVAILABLE
    assert "the pair's draft model" in own.finding.lines[0]


@pytest.mark.parametrize("engine", ["transformers-assisted", "transformers-lookup"])
def test_an_engine_may_draft_with_the_prompt(subject, engine):
    """Its first step commits the output's first token, too."""
    other = replace(subject, config=replace(subject.config, engine=engine))
    [examined] = examine(other, ["acceptance counts"])
    assert examined.finding.status is Status.PASSED, result_line(examined)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["--engine", "transformers-lookup", "--engine-option", "ngrams=2"],
            "did you mean 'ngram'?",
        ),
        (["--engine", "no_such_module:Mine"], "there is no module 'no_such_module'"),
        (["--engine", "beside_it:Nothing"], "beside_it.py) has no 'Nothing'"),
        (["--engine", "refrence"], "did you mean 'reference'?"),
    ],
)
def test_verify_refuses_an_engine_before_a_model_is_loaded(
    words, problem, capsys, tmp_path, monkeypatch
):
    """Modules in the current folder are found, as the third case shows."""
    (tmp_path / "beside_it.py").write_text("def make(config, pair): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr("draftproof.conformance.making.load_pair", None)
    assert main(["verify", "--limit", "1", *words]) == 4
    said = "".join(capsys.readouterr())
    assert said.count(problem) == 1
