"""Advice: chosen on some prompts, priced on others, and what it says of costs and domains."""

import json
from dataclasses import replace

import numpy as np
import pytest
from made_advice import LIMITS, advised, costs, models, recording
from recordings import synthetic

from draftproof.budget import Budget, PromisedFigures, load_budget
from draftproof.errors import UsageError
from draftproof.replay.advice_text import advice_budget, advice_json, terminal_advice
from draftproof.replay.alignment import align
from draftproof.replay.best_tree import neighbours
from draftproof.replay.candidates import PLAIN, Candidate, Sweep
from draftproof.replay.choosing import Choice, Limits, choose
from draftproof.replay.costs import CostModel
from draftproof.replay.coupling import replay_chains
from draftproof.replay.crossfit import cross_fit, folds, speedup_estimate
from draftproof.replay.notes import near_ties, recording_notes
from draftproof.replay.recorded import Recording
from draftproof.replay.trees import tree_paths
from draftproof.shapes import ChainShape, KAryShape, StaticShape, parse_tree
from draftproof.statistics.bootstrap import Estimate
from draftproof.statistics.resampling import Resampling


def test_a_sure_draft_is_given_a_long_chain_and_an_unsure_one_siblings():
    made = advised(recording({"sure": (0.9, 0.05, 0.05), "unsure": (0.45, 0.5, 0.05)}), costs(0.5))
    sure, unsure = (each.advised.candidate.shape for each in made.domains)
    assert sure.deepest == 4
    assert isinstance(unsure, StaticShape)
    assert (1,) in unsure.paths
    assert made.domains[0].advised.speedup.value > 2


def test_a_draft_that_is_never_right_is_left_out():
    made = advised(recording({"hard": (0.02, 0.02, 0.96)}), costs(1.0))
    [domain] = made.domains
    assert domain.advised.candidate.draft == "none"
    assert domain.advised.speedup.value == 1
    assert domain.chain_length("draft") == 0
    assert made.single_chains == {"draft": 0}
    assert made.single.candidate == PLAIN
    assert domain.break_even < 0.1
    budget = advice_budget(made)
    assert budget.of("hard").draft == budget.of("anything").draft == "none"


def test_the_break_even_ratio_is_where_speculation_begins_to_lose():
    recorded = recording({"sure": (0.9, 0.05, 0.05)})
    [domain] = advised(recorded, costs(1.0)).domains
    assert domain.points.cost_ratios == {"draft": 0.1}
    for factor, draft in ((0.95, "draft"), (1.05, "none")):
        [other] = advised(recorded, costs(10 * domain.break_even * factor)).domains
        assert other.advised.candidate.draft == draft
        assert (other.break_even > other.points.cost_ratios["draft"]) == (draft == "draft")


def small_trees(most, found=frozenset({((0,),)})):
    """Every tree of up to so many nodes."""
    while True:
        grown = {t for tree in found for t in neighbours(tree, ranks=4, depth=4) if len(t) <= most}
        if grown <= found:
            return sorted(found)
        found |= grown


@pytest.mark.parametrize("jump", [3, 5, 99])
@pytest.mark.parametrize("chances", [(0.6, 0.25, 0.15), (0.4, 0.35, 0.25)])
def test_no_small_tree_is_faster_than_the_best_one(jump, chances):
    """Also where a wider pass costs a jump, or no more nodes are allowed."""
    made = recording({"own": chances})
    widths = {"1": 10, str(jump): 10.5, str(jump + 1): 14, "200": 40}
    cost = CostModel.from_json({"target": widths, "drafts": {"draft": {"1": 1, "64": 1.5}}}, "c")
    limits = Limits(nodes=6, depth=4, ranks=4)
    sweep = Sweep(made, made.cases, cost)
    every = [Candidate(draft="draft", shape=StaticShape(tree)) for tree in small_trees(6)]
    fastest = sweep.measure(every).speedups(sweep.plain).max()
    chosen = choose(sweep, np.arange(len(sweep)), ["draft"], limits)["draft", "tree"]
    assert chosen.speedup == pytest.approx(fastest)


def repeating(seed):
    """Prompts of a few repeated runs of ranks, and costs that jump: what misleads a search most."""
    generator = np.random.default_rng(seed)
    runs = [generator.integers(0, 4, generator.integers(1, 5)).tolist() for _ in range(4)]
    runs = [run + [9] * int(generator.random() < 0.4) for run in runs]
    cases = []
    for number in range(6):
        ranks = [rank for _ in range(40) for rank in runs[generator.integers(4)]][:40]
        cases.append(synthetic(ranks, domain="own", case_id=f"own/{number}"))

    def widths(start, count=9):
        jumps = generator.random(count - 1) < 0.4
        grown = np.where(jumps, generator.exponential(start * 0.4, count - 1), 0.01)
        return {str(n): v for n, v in enumerate(np.cumsum([start, *grown]).tolist(), start=1)}

    cost = {"target": widths(20.0), "drafts": {"draft": widths(1.5)}}
    return Recording(info=models(), cases=tuple(cases)), CostModel.from_json(cost, "c")


def share_of_the_best(seed):
    """Speed of the tree that is found ÷ that of the fastest of all small ones."""
    every = [Candidate(draft="draft", shape=StaticShape(tree)) for tree in small_trees(5)]
    made, cost = repeating(seed)
    sweep = Sweep(made, made.cases, cost)
    fastest = sweep.measure(every).speedups(sweep.plain).max()
    limits = Limits(nodes=5, depth=4, ranks=4)
    chosen = choose(sweep, np.arange(len(sweep)), ["draft"], limits)["draft", "tree"]
    return chosen.speedup / fastest


def test_the_search_for_the_best_tree_seldom_misses_it():
    """Of 40 recordings that were made to mislead it; never by a tenth."""
    shares = [share_of_the_best(seed) for seed in range(40)]
    assert min(shares) > 0.9
    assert sum(share < 1 - 1e-9 for share in shares) <= 2


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(81, id="counted after the roots of the best tree"),
        pytest.param(346, id="counted after its roots, too"),
        pytest.param(171, id="descendants exchanged"),
    ],
)
def test_the_search_finds_what_it_would_miss_without_a_part_of_it(seed):
    assert share_of_the_best(seed) == pytest.approx(1)


def test_a_setting_of_its_own_must_be_faster_than_the_one_for_all_on_other_prompts():
    """Domains that are alike: what differs between them is what they were fitted to."""
    alike = dict.fromkeys(("a", "bb", "ccc", "dddd"), (0.5, 0.3, 0.2))
    made = advised(recording(alike), costs(0.5))
    assert any(each.is_single for each in made.domains)
    for each in made.domains:
        assert each.single_loss.value >= 0
        if each.is_single:
            assert each.advised.candidate == made.single.candidate
            assert each.single_loss.value == 0
    assert "(as for all)" in terminal_advice(made)
    budget = advice_budget(made)
    shapes = {each.domain: budget.of(each.domain).tree for each in made.domains}
    assert all(shapes[e.domain] == budget.otherwise.tree for e in made.domains if e.is_single)


def test_a_domain_of_one_prompt_does_not_block_the_others():
    whole = recording({"sure": (0.9, 0.05, 0.05), "lone": (0.9, 0.05, 0.05)})
    cases = [case for case in whole.cases if case.domain == "sure" or case.case_id == "lone/0"]
    made = advised(replace(whole, cases=tuple(cases)), costs(0.5))
    assert [each.domain for each in made.domains] == ["sure"]
    assert made.left_out == ("lone",)
    assert "nothing can be chosen: lone" in terminal_advice(made)
    assert advice_budget(made).of("lone") == advice_budget(made).otherwise
    alone = replace(whole, cases=tuple(case for case in cases if case.domain == "lone"))
    with pytest.raises(UsageError, match="there is 1 prompt of lone; record at least 2"):
        advised(alone, costs(0.5))


def test_every_other_domain_is_given_the_one_setting_for_all():
    made = advised(recording({"hard": (0.05, 0.05, 0.9), "sure": (0.95, 0.02, 0.03)}), costs(0.2))
    budget = advice_budget(made)
    assert budget.otherwise.tree == made.single.candidate.shape
    assert budget.otherwise.draft == "draft"
    assert budget.of("hard") != budget.otherwise


def six_prompts(seed, tokens, chances):
    """Prompts of one domain: the chances of rank 0, of rank 1 and of neither."""
    generator = np.random.default_rng(seed)
    cases = [
        synthetic(
            generator.choice([0, 1, 9], size=tokens, p=chances),
            domain="own",
            case_id=f"own/{number}",
        )
        for number in range(6)
    ]
    return Recording(info=models(), cases=tuple(cases))


def test_a_single_setting_that_loses_on_other_prompts_is_no_speculation():
    made = six_prompts(1, 30, (0.3, 0.1, 0.6))
    sweep = Sweep(made, made.cases, costs(4.0))
    on_all = choose(sweep, np.arange(6), ("draft", "none"), LIMITS)
    assert max(choice.speedup for choice in on_all.values()) > 1
    made = advised(sweep.recording, sweep.costs)
    assert made.single.candidate == PLAIN
    assert made.single.speedup.value == 1


def early(confidence):
    """Prompts whose draft model is sure exactly where its chains are kept, if it is confident."""
    made = recording({"own": (0.5, 0.0, 0.5)})
    cases = []
    for case in made.cases:
        own = case.drafts["draft"]
        right = own.columns["rank"] == 0
        sure = np.where(right, 0.5 + confidence, 0.5 - confidence)
        tokens = len(right)
        chain = np.tile(sure[:, None], (1, 4))
        for ahead in range(1, 4):
            chain[: tokens - ahead, ahead] = sure[ahead:]
        drafts = {
            "draft": replace(
                own,
                top={**own.top, "top_log_probability": np.tile(np.log(sure)[:, None], (1, 16))},
                chain={"chain_probability": chain, "chain_entropy": np.ones((tokens, 4))},
            )
        }
        cases.append(replace(case, drafts=drafts))
    return Recording(info=replace(made.info, rollout=4), cases=tuple(cases))


def test_chains_that_end_where_the_draft_is_unsure_gain_where_it_knows():
    """What is gained is on the side of chains that end early, and entropy adds nothing here."""
    [knowing] = advised(early(0.45), costs(1.0, slope=3.0)).domains
    assert knowing.early_gain.value > 0.1
    assert knowing.early_gain.low > 0
    assert knowing.entropy_gain.value == pytest.approx(0, abs=0.02)
    kinds = {each.kind: each for each in knowing.compared}
    gain = kinds["early chain"].speedup.value / kinds["chain"].speedup.value - 1
    assert knowing.early_gain.value == pytest.approx(gain)


def test_folds_that_fit_other_coefficients_choose_the_same_chain():
    [domain] = advised(early(0.45), costs(4.0)).domains
    assert domain.advised.kind.startswith("early chain")
    assert domain.agreeing > 0


def test_costs_narrower_than_the_default_tree_leave_what_they_reach():
    """Both models' passes: of the target over 6 tokens, of the draft model over 1."""
    made = recording({"own": (0.5, 0.4, 0.1)})
    narrow = {"target": {"1": 10, "6": 10}, "drafts": {"draft": {"1": 1}}}
    advice = advised(made, CostModel.from_json(narrow, "c"))
    [domain] = advice.domains
    assert domain.default is None
    text = terminal_advice(advice)
    assert "The default tree is not priced: it takes costs of passes over 15 tokens" in text
    assert json.loads(json.dumps(advice_json(advice)))["domains"]["own"]["default"] is None
    for candidate in (*(each.candidate for each in domain.compared), *domain.points.candidates):
        paths = candidate.shape.paths if isinstance(candidate.shape, StaticShape) else ()
        assert candidate.shape.most_nodes <= 5
        assert sum(len(path) == 1 for path in {path[:-1] for path in paths}) <= 1
    wide = {"target": {"1": 10, "6": 10}, "drafts": {"draft": {"1": 1, "9": 1}}}
    [other] = advised(made, CostModel.from_json(wide, "c")).domains
    assert any(each.kind == "k-ary tree" for each in other.compared)


def test_block_efficiency_has_no_interval_beyond_what_is_possible():
    """Three prompts, of very different lengths: a draft of one token keeps one at most."""
    cases = [
        synthetic([0, 9] * 20 if number else [0] * 6, domain="own", case_id=f"own/{number}")
        for number in range(3)
    ]
    made = advised(Recording(info=models(), cases=tuple(cases)), costs(3.0))
    for each in made.domains[0].compared:
        assert not each.block_efficiency.high > each.candidate.shape.deepest + 1
        assert not each.block_efficiency.low < 1


def test_a_speedup_of_microseconds_is_a_speedup():
    seconds = np.array([2e-9, 3e-9, 2e-9])
    found = speedup_estimate(2 * seconds, seconds, np.array([9, 9, 9]), "own", Resampling())
    assert found.value == pytest.approx(2)


def test_a_domain_that_a_budget_cannot_name_is_refused_before_anything_is_chosen():
    with pytest.raises(UsageError, match="a budget cannot name a domain"):
        advised(recording({"*": (0.9, 0.05, 0.05)}), costs())


def test_what_follows_from_other_texts_says_so_wherever_it_is_written():
    label = "off-policy: 12 texts of log.jsonl"
    made = advised(recording({"own": (0.9, 0.05, 0.05)}, off_policy=label), costs())
    assert advice_json(made)["off_policy"] == label
    budget = advice_budget(made).to_json()
    assert budget["promises"]["own"]["off_policy"] == label
    [promise] = Budget.from_json(budget, "b.json").promises
    assert promise.off_policy == label
    own = advised(recording({"own": (0.9, 0.05, 0.05)}), costs())
    assert "off_policy" not in advice_budget(own).to_json()["promises"]["own"]


@pytest.mark.parametrize("shape", [ChainShape(1), ChainShape(4), KAryShape(2, 2), KAryShape(3, 2)])
def test_a_draft_that_a_context_cuts_costs_what_is_left_of_it(shape):
    """Priced step by step, by hand: where the draft model has no room, a step is a plain one."""
    made = recording({"own": (0.5, 0.3, 0.2)})
    info = replace(made.info, max_lengths={"target": 4096, "draft": 25})
    cost = costs(1.0, slope=0.5)
    sweep = Sweep(replace(made, info=info), made.cases, cost)
    measured = sweep.measure([Candidate(draft="draft", shape=shape)])
    paths, cut = tree_paths(shape), 0
    for number, case in enumerate(made.cases):
        ranks, milliseconds, root = case.drafts["draft"].columns["rank"].tolist(), 0.0, 0
        while root < case.committed - 1:
            room = max(0, 25 - (len(case.prompt_token_ids) + root + 1) + 1)
            drafted = {path for path in paths if len(path) <= room}
            cut += len(drafted) < len(paths)
            passes = max(map(len, drafted), default=0)
            milliseconds += 10 + 0.5 * len(drafted) + passes * 1.0
            path = ()
            while (path := (*path, ranks[root + 1 + len(path)])) in drafted:
                if root + 1 + len(path) == len(ranks):
                    path = (*path, -1)
                    break
            root += len(path)
        assert measured.seconds[0, number] * 1000 == pytest.approx(milliseconds)
    assert cut > 50


def test_drawn_chains_are_cut_where_a_context_ends():
    cases = [synthetic([0] * 30, q=[0.7] * 30, case_id=str(n)) for n in range(2)]
    short = align(cases, "draft", replace(models(), max_lengths={"target": 4096, "draft": 15}))
    sums = replay_chains(short, [1, 3])
    by_depth = sums.steps_by_depth
    assert by_depth.sum(axis=2) == pytest.approx(sums.steps)
    assert (by_depth * np.arange(4)).sum(axis=2) == pytest.approx(sums.drafted)
    assert (by_depth[:, :, 0] > 5).all()
    ample = align(cases, "draft", models())
    assert replay_chains(ample, [1, 3]).steps_by_depth is None


def test_servers_are_told_no_length_that_loses_on_other_prompts():
    """With one domain, what holds of all domains is what holds of it."""
    made = advised(six_prompts(18, 20, (0.67, 0, 0.33)), costs(5.0))
    sweep = Sweep(made.recording, made.recording.cases, made.costs)
    assert choose(sweep, np.arange(6), ("draft",), LIMITS)["draft", "chain"].speedup > 1
    assert made.domains[0].chain_length("draft") == 0
    assert made.single_chains == {"draft": 0}


def test_a_recording_of_one_token_a_position_gives_chains():
    made = recording({"own": (0.9, 0.05, 0.05)})
    cases = [
        replace(
            case,
            drafts={
                name: replace(draft, top={key: value[:, :1] for key, value in draft.top.items()})
                for name, draft in case.drafts.items()
            },
        )
        for case in made.cases
    ]
    narrow = Recording(info=replace(made.info, k=1, vocabulary_size=99), cases=tuple(cases))
    advice = advised(narrow, costs(0.5))
    [domain] = advice.domains
    assert domain.default is None
    assert domain.advised.candidate.shape.is_chain
    assert "--k 2 or more of the recording" in terminal_advice(advice)


def test_too_few_prompts_say_nothing_of_entropy():
    made = advised(early(0.45), costs(1.0, slope=3.0))
    assert "every interval has 0 in it" in terminal_advice(made)
    unknown = Estimate(value=-0.02, low=float("nan"), high=float("nan"), n=3)
    few = replace(made, domains=(replace(made.domains[0], entropy_gain=unknown),))
    assert "too few for an interval, and say nothing of it" in terminal_advice(few)


def test_near_ties_are_of_tokens_that_trees_propose():
    def with_margin(rank):
        case = synthetic([0, rank, 0], case_id="a")
        own = case.drafts["draft"]
        margin = np.array([1.0, 1e-5, 1.0], "<f4")
        made = replace(own, columns={**own.columns, "margin": margin})
        return Recording(info=models(), cases=(replace(case, drafts={"draft": made}),))

    assert near_ties(with_margin(3)) == 1
    assert near_ties(with_margin(16)) == 0


def test_few_prompts_are_said():
    whole = recording({"sure": (0.9, 0.05, 0.05)})
    assert "Few prompts" not in terminal_advice(advised(whole, costs(0.5)))
    made = advised(replace(whole, cases=whole.cases[:4]), costs(0.5))
    assert "Few prompts: sure (4)" in terminal_advice(made)


def test_outputs_of_one_token_have_no_step_to_speed_up():
    cases = [synthetic([0], domain="own", case_id=f"own/{n}") for n in range(4)]
    made = advised(Recording(info=models(), cases=tuple(cases)), costs(0.5))
    assert made.single.candidate == made.domains[0].advised.candidate == PLAIN
    terminal_advice(made)


def test_without_a_draft_model_there_is_nothing_to_say_to_servers():
    text = terminal_advice(advised(recording({"own": (0.6, 0.2, 0.2)}), costs(), ("none",)))
    assert "servers" not in text
    assert "speedup of  " not in text


def test_no_prompt_is_priced_under_a_choice_that_saw_it():
    made = recording({"sure": (0.8, 0.1, 0.1)})
    sweep = Sweep(made, made.cases, costs())
    part = folds([case.case_id for case in made.cases])
    by_length = {length: ChainShape(length + 1) for length in range(5)}
    seen = []

    def choose(rows):
        seen.append(frozenset(rows.tolist()))
        candidate = Candidate(draft="draft", shape=by_length[len(seen) % 5])
        return {("draft", "chain"): Choice(kind="chain", candidate=candidate, speedup=2.0)}

    fit = cross_fit(sweep, part, choose)
    assert seen[0] == frozenset(range(12))
    steps = {
        length: sweep.measure([Candidate(draft="draft", shape=shape)]).steps[0]
        for length, shape in by_length.items()
    }
    for number, trained_on in enumerate(seen[1:], start=2):
        held_out = sorted(frozenset(range(12)) - trained_on)
        assert held_out
        expected = steps[number % 5][held_out]
        assert fit.held_out["draft", "chain"].steps[held_out].tolist() == expected.tolist()
    assert len(seen) == 6


def test_folds_do_not_depend_on_the_order_and_need_two_prompts():
    names = [f"case {number}" for number in range(11)]
    part = dict(zip(names, folds(names), strict=True))
    again = dict(zip(reversed(names), folds(names[::-1]), strict=True))
    assert part == again
    assert sorted(np.bincount(list(part.values())).tolist()) == [2, 2, 2, 2, 3]
    with pytest.raises(UsageError, match="record at least 2 prompts of each domain"):
        folds(["alone"])


def test_one_setting_for_all_loses_where_domains_differ():
    made = advised(recording({"sure": (0.95, 0.03, 0.02), "hard": (0.05, 0.05, 0.9)}), costs(2.0))
    losses = {each.domain: each.single_loss.value for each in made.domains}
    for each in made.domains:
        loss = each.single_loss
        assert np.isnan(loss.low) or loss.low <= loss.value <= loss.high
    assert max(losses.values()) > 0.05


def test_candidates_price_steps_and_passes():
    """Three tokens, all accepted: one step with a chain of two, by hand."""
    case = synthetic([9, 0, 0, 0], committed=4, prompt_tokens=6)
    made = Recording(info=models(), cases=(case,))
    cost = CostModel.from_json(
        {
            "target": {"1": 10, "3": 14},
            "drafts": {"draft": {"1": 2}},
            "step": 0.5,
            "level": 0.25,
            "plain": 1.0,
            "prompts": {"target": [3, 1], "draft": [0, 0.5]},
        },
        "c",
    )
    sweep = Sweep(made, made.cases, cost)
    measured = sweep.measure([Candidate(draft="draft", shape=ChainShape(2))])
    assert sweep.plain.tolist() == pytest.approx([(3 + 6 + 3 * 11) / 1000])
    assert measured.steps.tolist() == [[1]]
    assert measured.draft_seconds.tolist() == [[pytest.approx(0.004)]]
    expected = 3 + 6 + 3 + 14 + 0.5 + 2 * (2 + 0.25)
    assert measured.seconds.tolist() == [[pytest.approx(expected / 1000)]]


def test_the_budget_is_read_as_it_was_written(tmp_path):
    made = advised(recording({"sure": (0.9, 0.05, 0.05)}), costs())
    budget = advice_budget(made)
    path = tmp_path / "budget.json"
    path.write_text(json.dumps(budget.to_json()))
    again = load_budget(path)
    assert again == budget
    assert again.drafts == ("draft",)
    assert again.of("sure").tree == made.domains[0].advised.candidate.shape
    assert again.pairs[-1][0] == "*"
    again.require_made_for("t", 0.0, "it")
    with pytest.raises(UsageError, match="was made for the target 't', and this run's is 'u'"):
        again.require_made_for("u", 0.0, "it")
    with pytest.raises(UsageError, match="was made for temperature 0, and this run's is 0.7"):
        again.require_made_for("t", 0.7, "it")


def test_a_budget_of_other_filters_is_refused_above_temperature_0():
    made = recording({"sure": (0.9, 0.05, 0.05)})
    sampling = {**made.info.settings["sampling"], "top_k": 0, "top_p": 0.95, "min_p": 0.0}
    settings = {**made.info.settings, "sampling": sampling}
    made = replace(made, info=replace(made.info, settings=settings))
    budget = replace(advice_budget(advised(made, costs())), temperature=0.9)
    again = Budget.from_json(json.loads(json.dumps(budget.to_json())), "b.json")
    assert again == budget
    same = {"top_k": 0, "top_p": 0.95, "min_p": 0.0}
    again.require_made_for("t", 0.9, "it", same)
    with pytest.raises(UsageError, match=r"was made for top_p 0.95, and this run's is 1; record"):
        again.require_made_for("t", 0.9, "it", {**same, "top_p": 1.0})
    greedy = replace(again, temperature=0.0)
    greedy.require_made_for("t", 0.0, "it", {**same, "top_p": 1.0})


NO_BUDGET = {
    "kind": "draftproof budget",
    "target": "t",
    "temperature": 0,
    "domains": {},
    "otherwise": {"draft": "none", "tree": "none"},
}
"""A sound one, to be spoilt."""


def test_a_sound_budget_is_read():
    assert Budget.from_json(NO_BUDGET, "it").temperature == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "is not a budget file"),
        (NO_BUDGET | {"temperature": -1}, "temperature is -1, and should be 0 or more"),
        (NO_BUDGET | {"temperature": True}, "temperature is True, and should be a number"),
        (NO_BUDGET | {"temperature": "1"}, "temperature is '1', and should be a number"),
        (NO_BUDGET | {"target": None}, "target is None, and should be a name"),
        (
            NO_BUDGET | {"filters": {"top_k": True, "top_p": 1, "min_p": 0}},
            "top_k is True, and should be a number",
        ),
        ({"kind": "draftproof budget", "schema_version": 9}, "install a newer one"),
        ({"kind": "draftproof budget", "schema_version": "x"}, "has schema version 'x'"),
        (
            {
                "kind": "draftproof budget",
                "target": "t",
                "temperature": 0,
                "domains": {"*": {"draft": "none", "tree": "none"}},
                "otherwise": {"draft": "none", "tree": "none"},
            },
            "cannot name a domain '.'",
        ),
        (
            {
                "kind": "draftproof budget",
                "target": "t",
                "temperature": 0,
                "domains": {"code": {"draft": "d", "tree": "chain:x"}},
                "otherwise": {"draft": "none", "tree": "none"},
            },
            "budget.json: code: tree: ",
        ),
        ({"kind": "draftproof budget", "domains": {}}, "a budget has target"),
        (
            {
                "kind": "draftproof budget",
                "target": "t",
                "temperature": 0,
                "domains": {"code": {"tree": "none"}},
                "otherwise": {"draft": "none", "tree": "none"},
            },
            "budget.json: code: give a draft and a tree",
        ),
        (
            {
                "kind": "draftproof budget",
                "target": "t",
                "temperature": 0,
                "domains": {},
                "otherwise": {"draft": "none", "tree": "none"},
                "filters": {"top_k": 5},
            },
            "filters has top_k, top_p, min_p",
        ),
        (
            {
                "kind": "draftproof budget",
                "target": "t",
                "temperature": 0,
                "domains": {"code": {"draft": "none", "tree": "chain:3"}},
                "otherwise": {"draft": "none", "tree": "none"},
            },
            "the draft 'none' does not go with the tree 'chain:3'",
        ),
    ],
)
def test_what_is_no_budget_says_why(values, message):
    with pytest.raises(UsageError, match=message):
        Budget.from_json(values, "budget.json")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"draft": None}, "code: draft is None, and should be a name"),
        ({"draft": " "}, "code: draft is ' '"),
        ({"tree": 5}, "code: tree is 5, and should be a name"),
        ({"tree": "chain:3,gain=0.5,base=nan"}, "code: tree: cannot read"),
        ({"tree": "chain:3,gain=0.5,sure=1e999"}, "code: tree: cannot read"),
    ],
)
def test_a_domain_that_is_given_nothing_says_why(given, message):
    domain = {"draft": "d", "tree": "chain:3", **given}
    otherwise = {"draft": "none", "tree": "none"}
    values = {"kind": "draftproof budget", "target": "t", "temperature": 0}
    with pytest.raises(UsageError, match=message):
        Budget.from_json({**values, "domains": {"code": domain}, "otherwise": otherwise}, "b.json")


def test_a_promise_has_an_interval():
    ends = {"value": 1.5, "low": 1.2, "high": 1.9}
    promised = {"block_efficiency": ends, "speedup": ends}
    assert PromisedFigures.from_json("code", promised, "b.json").domain == "code"
    swapped = {**promised, "speedup": {**ends, "low": 1.9, "high": 1.2}}
    with pytest.raises(UsageError, match=r"low is 1.9, and high 1.2"):
        PromisedFigures.from_json("code", swapped, "b.json")


def test_text_and_json_have_every_domain():
    made = advised(
        recording({"sure": (0.9, 0.05, 0.05), "hard": (0.1, 0.1, 0.8)}),
        costs(),
        ("draft", "lookup"),
    )
    text = terminal_advice(made)
    for words in ("sure", "hard", "num_speculative_tokens", "--draft-max", "cost ratio"):
        assert words in text
    values = json.loads(json.dumps(advice_json(made), allow_nan=False))
    assert set(values["domains"]) == {"sure", "hard"}
    assert values["domains"]["sure"]["advised"]["speedup"]["value"] > 1


@pytest.mark.parametrize(
    ("drafters", "message"), [(("other",), "unknown value 'other'"), (("draft", "lokup"), "lookup")]
)
def test_unknown_drafters_are_refused(drafters, message):
    with pytest.raises(UsageError, match=message):
        advised(recording({"sure": (0.9, 0.05, 0.05)}), costs(), drafters)


def test_notes_say_what_a_recording_is():
    made = recording({"sure": (0.9, 0.05, 0.05)}, off_policy="off-policy: 12 texts of log.jsonl")
    notes = "\n".join(recording_notes(replace(made, complete=False)))
    assert "not the target's own text" in notes
    assert "The recording is not finished" in notes
    assert not recording_notes(recording({"sure": (0.9, 0.05, 0.05)}))


def test_trees_wider_than_the_recording_are_refused():
    made = recording(
        {"sure": (0.9, 0.05, 0.05)},
    )
    few = replace(made, info=replace(made.info, k=2, vocabulary_size=99))
    with pytest.raises(UsageError, match="record again with --k 3"):
        Sweep(few, few.cases, costs()).measure([Candidate(draft="draft", shape=KAryShape(1, 3))])
    early = Candidate(draft="draft", shape=parse_tree("chain:4,gain=0.5"))
    with pytest.raises(UsageError, match="record again with --rollout 4"):
        Sweep(made, made.cases, costs()).measure([early])
