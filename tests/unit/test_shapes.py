import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftproof.acceptance import make_rule
from draftproof.choices import FORMS, PRESETS
from draftproof.config import RunConfig, Sampling
from draftproof.errors import UsageError
from draftproof.laws import RULES, ProposalLaw, default_rule, valid_rules
from draftproof.shapes import KAryShape, StaticShape, parse_tree

EXAMPLES = [form for form in FORMS if form != "static:FILE.json"]


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_form_in_the_help_is_read_and_written_back(text):
    shape = parse_tree(text)
    assert parse_tree(str(shape)) == shape


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tree", "cannot read 'tree'; give one of: 3x2, chain:5"),
        ("chain:five", "options are: stop=NUMBER"),
        ("chain:5,halt=1", "options are: stop=NUMBER"),
        ("chain:5,stop=2", "stop is a probability"),
        ("chain:5,gain=0.5,base=nan", "options are: stop=NUMBER"),
        ("chain:5,gain=0.5,entropy=inf", "options are: stop=NUMBER"),
        ("chain:0", "length is 1 to 4096"),
        ("sampled:3", "give for example sampled:3x2"),
        ("distinct:0x2", "has no node"),
        ("99999999x1", "more than 4096 nodes"),
        ("static:[[0],[0]]", "lists a path twice"),
        ("static:[[1]]", r"\[1\] is listed without its sibling of rank 0"),
        ("static:[[0,0]]", r"\[0, 0\] has no parent \[0\]"),
        ("static:[[0],[-1]]", "is not a path of ranks"),
        ("static:[]", "has 0 nodes"),
        ("static:[0]", "is not a JSON list of paths"),
        ("static:nowhere.json", "cannot read nowhere.json"),
        ("best-first:0", "the node budget is 1 to 4096"),
        ("best-first:9,width=2", "options are: depth=NUMBER, branching=NUMBER"),
        ("lookup:3,ngram=0", "ngram is 1 to 64"),
    ],
)
def test_what_cannot_be_read_says_why(text, message):
    with pytest.raises(UsageError, match=message):
        parse_tree(text)


def test_a_static_tree_from_a_file(tmp_path):
    path = tmp_path / "tree.json"
    path.write_text(json.dumps([[0], [0, 0], [1]]))
    assert parse_tree(f"static:{path}") == StaticShape(((0,), (1,), (0, 0)))


@given(st.integers(1, 4), st.integers(1, 3))
def test_a_k_ary_tree_has_every_path(depth, branching):
    paths = KAryShape(depth, branching).paths
    assert len(set(paths)) == len(paths) == sum(branching**k for k in range(1, depth + 1))
    assert KAryShape(depth, 1).is_chain


@pytest.mark.parametrize("name", RULES)
def test_every_rule_of_the_table_exists_by_its_name(name):
    assert make_rule(name, parse_tree("chain:1"), is_greedy=True).name == name


@pytest.mark.parametrize("law", ProposalLaw)
@pytest.mark.parametrize("is_chain", [True, False])
@pytest.mark.parametrize("is_greedy", [True, False])
def test_there_is_a_lossless_default_for_every_kind_of_draft(law, is_chain, is_greedy):
    name = default_rule(law, is_chain=is_chain, is_greedy=is_greedy)
    assert RULES[name].lossless
    assert name in valid_rules(law, is_chain=is_chain, is_greedy=is_greedy)


def test_settings_survive_json():
    config = RunConfig(
        tree=parse_tree("static:[[0],[1],[0,0]]"),
        sampling=Sampling(temperature=0.5, top_k=7),
        stop_strings=("###",),
        limit=None,
    )
    assert RunConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_an_unknown_key_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="unknown value 'tre'; did you mean 'tree'"):
        RunConfig.from_json({"tre": "3x2"})


def test_every_setting_moves_the_fingerprint():
    fingerprints = {
        config.fingerprint()
        for config in (
            RunConfig(),
            RunConfig(seed=1),
            RunConfig(tree=parse_tree("3x3")),
            RunConfig(sampling=Sampling(temperature=1.0)),
            RunConfig(sampling=Sampling(temperature=1.0, top_p=0.9)),
            RunConfig(max_new_tokens=65),
            RunConfig(stop_strings=("x",)),
        )
    }
    assert len(fingerprints) == 7


def test_presets_are_valid_settings():
    for settings in PRESETS.values():
        assert parse_tree(settings["tree"])
        Sampling(**settings["sampling"])
