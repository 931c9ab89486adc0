"""``--spec-drafter`` and ``--spec-rule`` of a user's own: examined like ours, or refused."""

import re
import sys
from pathlib import Path

import pytest

from draftproof.cli import main
from draftproof.config import RunConfig, Sampling
from draftproof.conformance.check_result import Status
from draftproof.conformance.kit import examine
from draftproof.conformance.making import make_subject
from draftproof.conformance.rendering import result_line
from draftproof.engines.own_parts import rule_of
from draftproof.engines.reference import ReferenceEngine
from draftproof.errors import UsageError
from draftproof.models.loading import load_pair
from draftproof.shapes import parse_tree

sys.path.insert(0, str(Path(__file__).parent))

import own_parts

ABOVE = Sampling(temperature=1.0)


def found(name, **settings):
    settings = {"max_new_tokens": 10, "sampling": ABOVE, **settings}
    subject = make_subject(RunConfig(**settings), prompts=1, report=lambda line: None)
    (examined,) = examine(subject, [name])
    subject.close()
    return examined


def test_right_parts_have_the_exact_law():
    for drafter in ("TwoLevels", "TwoInARow"):
        examined = found("exact law of outputs", drafter=f"own_parts:{drafter}")
        assert examined.finding.status is Status.PASSED, result_line(examined)
        assert examined.finding.places > 300
    examined = found("exact law of outputs", rule="own_parts:Keeps", tree=parse_tree("chain:2"))
    assert examined.finding.status is Status.PASSED, result_line(examined)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"drafter": "own_parts:TellsAnotherLaw"}, "own_parts:TellsAnotherLaw with the rule"),
        ({"rule": "own_parts:Cold", "tree": parse_tree("chain:2")}, "chain:2 with the rule"),
    ],
)
def test_a_wrong_part_is_caught_by_enumeration(settings, says):
    examined = found("exact law of outputs", **settings)
    assert examined.finding.status is Status.FAILED
    assert says in " ".join(result_line(examined).split())


@pytest.mark.parametrize(
    ("name", "drafter", "says"),
    [
        ("exact law of drafts", "TwoLevels", "what own_parts:TwoLevels should propose is stated"),
        ("exact law of outputs", "NeedsManyIds", "does not work on models of 3 ids.*100 ids at"),
        ("drafts of other lengths", "TwoLevels", "does not have: a draft length"),
        ("self-draft", "TwoLevels", "does not have: the pair's draft model"),
    ],
)
def test_what_cannot_be_asked_of_a_drafter_is_not_available(name, drafter, says):
    examined = found(name, drafter=f"own_parts:{drafter}")
    assert examined.finding.status is Status.NOT_AVAILABLE
    [line] = examined.finding.lines
    assert re.search(says, line), line


@pytest.mark.parametrize("name", ["state equivalence", "metric identities", "greedy output"])
def test_the_other_checks_run_on_it(name):
    examined = found(name, drafter="own_parts:TwoInARow")
    assert examined.finding.status is Status.PASSED, result_line(examined)


def test_the_rule_is_chosen_by_what_the_drafter_proposes():
    config = RunConfig(drafter="own_parts:TwoLevels", sampling=ABOVE)
    chain = own_parts.TwoInARow(load_pair(RunConfig(), lambda line: None).draft)
    assert rule_of(config, chain).name == "rejection"
    config = RunConfig(drafter="own_parts:TwoInARow", sampling=ABOVE, rule="point-mass")
    with pytest.raises(UsageError, match="point-mass: is not valid for the drafts of --spec-draf"):
        rule_of(config, chain)


def test_an_engine_names_its_parts():
    pair = load_pair(RunConfig(), lambda line: None)
    named = ReferenceEngine(pair, RunConfig(drafter="own_parts:TwoLevels", rule="own_parts:Keeps"))
    given = ReferenceEngine(
        pair, RunConfig(), rule=own_parts.Keeps(), drafter=own_parts.TwoLevels(pair.draft)
    )
    for engine in (named, given):
        described = engine.describe()
        assert described["drafter"] == "own_parts:TwoLevels"
        assert described["own rule"] == "own_parts:Keeps"
        assert "tree" not in described


def test_settings_with_other_parts_have_other_fingerprints():
    prints = {
        RunConfig(**settings).fingerprint()
        for settings in ({}, {"drafter": "own_parts:TwoLevels"}, {"rule": "own_parts:Keeps"})
    }
    assert len(prints) == 3
    config = RunConfig(drafter="own_parts:TwoLevels")
    assert RunConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--drafter", "own_parts"], "is no place: give package.module:name"),
        (["--drafter", "own_parts:Nothing"], "--spec-drafter own_parts:Nothing.*has no 'Nothing'"),
        (["--drafter", "not_there:It"], "there is no module 'not_there'"),
        (["--drafter", "own_parts:A_NUMBER"], "cannot be called: it is a int"),
        (["--drafter", "own_parts:no_model"], "is called with the draft model, and takes"),
        (["--rule", "own_parts:TwoLevels"], "--spec-rule own_parts:TwoLevels: is called with noth"),
        (["--rule", "own_part"], "unknown value 'own_part'"),
        (
            ["--drafter", "own_parts:TwoLevels", "--engine", "transformers-lookup"],
            "a drafter of yours runs on the reference engine only",
        ),
        (
            ["--rule", "own_parts:Keeps", "--engine", "transformers-lookup"],
            "an acceptance rule of yours runs on the reference engine only",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_before_models_are_loaded(capsys, options, says):
    assert main(["verify", *options]) == 4
    printed = capsys.readouterr()
    assert "loading" not in printed.out
    assert re.search(says, printed.err), printed.err


def test_what_is_no_drafter_says_what_it_lacks(capsys):
    assert main(["verify", "--drafter", "own_parts:NoDrafter", "--check", "greedy output"]) == 4
    assert "a NoDrafter is not a drafter; it needs law, start, draft" in capsys.readouterr().err
