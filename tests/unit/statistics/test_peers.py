"""Every project's figures, worked by hand on journals of two nodes a step."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from draftproof.errors import UsageError
from draftproof.journal import Journal, read_journal
from draftproof.statistics import PEERS, as_peers
from draftproof.statistics.counters import case_counters
from draftproof.trace import (
    STEP_COLUMNS,
    CaseRecord,
    Counts,
    DecodedOutput,
    Verdict,
    columns_from,
)

NAN = float("nan")


def case(case_id, accepted, committed, *, stop=False, nodes=2, depth=2, verdict=Verdict.IDENTICAL):
    """A case of chains of two tokens; the output is prefill's token and what was committed."""
    steps = len(accepted)
    drafted = [nodes] * steps if isinstance(nodes, int) else nodes
    output = DecodedOutput(
        token_ids=tuple(range(1 + sum(committed))),
        stop_reason="stop_token" if stop else "length",
        seconds=1.0,
    )
    columns = {
        "step": range(steps),
        "nodes": drafted,
        "depth": [min(depth, n) for n in drafted],
        "accepted_length": accepted,
        "committed_tokens": committed,
        "root_position": 4 + np.cumsum([0, *committed])[:steps],
        "draft_seconds": [0.0] * steps,
        "verify_seconds": [0.0] * steps,
    }
    return CaseRecord(
        case_id=case_id,
        domain="code",
        prompt_tokens=4,
        verdict=verdict,
        plain=output,
        speculative=output,
        steps=columns_from(STEP_COLUMNS, columns),
    )


JOURNALS = {
    "nothing accepted": [case("a", [0, 0], [1, 1])],
    "partly": [case("a", [2, 0, 1], [3, 1, 2]), case("b", [1], [2])],
    "everything accepted": [case("a", [2, 2], [3, 3])],
    # The last block is 2 accepted tokens and a bonus token; the first of them is a stop token.
    "stop token accepted": [case("a", [1, 2], [2, 1], stop=True)],
    "stop token is the extra token": [case("a", [1, 2], [2, 3], stop=True)],
    "stop token from prefill": [case("a", [], [], stop=True)],
    # The length limit leaves 1 of the last block's 3 tokens.
    "length limit": [case("a", [1, 2], [2, 1])],
    "tree": [case("a", [1, 0], [2, 1], nodes=6)],
    "a step without a draft": [case("a", [2, 0], [3, 1], nodes=[2, 0])],
}

EXPECTED = {
    "nothing accepted": {
        "vllm": {
            "num_drafts": 2,
            "num_draft_tokens": 4,
            "num_accepted_tokens": 0,
            "draft_acceptance_rate": 0.0,
            "mean_acceptance_length": 1.0,
            "per_position_acceptance_rate": (0.0, 0.0),
        },
        "sglang": {
            "completion_tokens": 3,
            "spec_verify_ct": 2,
            "spec_num_correct_drafts": 0,
            "spec_num_proposed_drafts": 4,
            "spec_accept_length": 1.5,
            "spec_accept_length_mean_of_requests": 1.5,
            "spec_accept_rate": 0.0,
            "spec_correct_drafts_histogram": (2,),
            "spec_accept_histogram": (2,),
        },
        "specdec_bench": {
            "Average_AL": 1.0,
            "Acceptance_Length_Histogram": {1: 3},
            "Conditional_Acceptance_Rate": {1: 1.0},
            "Joint_Acceptance_Rate": {1: 1.0},
        },
        "aiperf": {
            "spec_decode_acceptance_length": 1.0,
            "spec_decode_token_weighted_acceptance_length": 1.0,
            "spec_decode_draft_acceptance_rate": 0.0,
            "spec_decode_overall_draft_acceptance_rate": 0.0,
            "spec_decode_accepted_per_verified": 1 / 3,
            "total_spec_decode_steps": 2,
            "total_accepted_draft_tokens": 0,
            "total_draft_tokens": 4,
            "pooled_spec_decode_acceptance_histogram": {0: 2},
        },
        "spec_bench": {"mean_accepted_tokens": 1.0},
        "eagle": {"tau": 1.0, "tau_of_new_tokens_and_idxs": 2.0, "alpha": (0.0, NAN)},
        "llama.cpp": {
            "predicted_n": 3,
            "draft_n": 4,
            "draft_n_accepted": 0,
            "draft_acceptance": 0.0,
            "mean_acceptance_length": 1.0,
            "acceptance_rate_per_position": (0.0, 0.0),
            "spec_decode_num_drafts_total": 2,
            "spec_decode_num_draft_tokens_total": 4,
            "spec_decode_num_accepted_tokens_total": 0,
        },
        "deepspec": {
            "acceptance_length": 1.0,
            "draft_tokens_per_proposal": 2.0,
            "verify_rate": 1 / 3,
            "accept_rates_by_position": (0.0, 0.0),
        },
    },
    "partly": {
        "vllm": {
            "num_drafts": 4,
            "num_draft_tokens": 8,
            "num_accepted_tokens": 4,
            "draft_acceptance_rate": 0.5,
            "mean_acceptance_length": 2.0,
            "per_position_acceptance_rate": (0.75, 0.25),
        },
        "sglang": {
            "completion_tokens": 10,
            "spec_verify_ct": 4,
            "spec_num_correct_drafts": 4,
            "spec_num_proposed_drafts": 8,
            "spec_accept_length": 2.5,
            "spec_accept_length_mean_of_requests": (7 / 3 + 3) / 2,
            "spec_accept_rate": 0.5,
            "spec_correct_drafts_histogram": (1, 2, 1),
            "spec_accept_histogram": (1, 2, 1),
        },
        # Chunks 1, 3, 1, 2 and 1, 2.
        "specdec_bench": {
            "Average_AL": (7 / 4 + 3 / 2) / 2,
            "Acceptance_Length_Histogram": {1: 3, 2: 2, 3: 1},
            "Conditional_Acceptance_Rate": {1: 1.0, 2: 1 / 2, 3: 1 / 3},
            "Joint_Acceptance_Rate": {1: 1.0, 2: 1 / 2, 3: 1 / 6},
        },
        "aiperf": {
            "spec_decode_acceptance_length": 2.0,
            "spec_decode_token_weighted_acceptance_length": 2.0,
            "spec_decode_draft_acceptance_rate": 50.0,
            "spec_decode_overall_draft_acceptance_rate": 50.0,
            "spec_decode_accepted_per_verified": 2 / 3,
            "total_spec_decode_steps": 4,
            "total_accepted_draft_tokens": 4,
            "total_draft_tokens": 8,
            "pooled_spec_decode_acceptance_histogram": {0: 1, 1: 2, 2: 1},
        },
        "spec_bench": {"mean_accepted_tokens": 2.0},
        "eagle": {"tau": 2.0, "tau_of_new_tokens_and_idxs": 4.0, "alpha": (3 / 4, 1 / 3)},
        "llama.cpp": {
            "predicted_n": 10,
            "draft_n": 8,
            "draft_n_accepted": 4,
            "draft_acceptance": 0.5,
            "mean_acceptance_length": 2.0,
            "acceptance_rate_per_position": (0.75, 0.25),
            "spec_decode_num_drafts_total": 4,
            "spec_decode_num_draft_tokens_total": 8,
            "spec_decode_num_accepted_tokens_total": 4,
        },
        "deepspec": {
            "acceptance_length": 2.0,
            "draft_tokens_per_proposal": 2.0,
            "verify_rate": 2 / 3,
            "accept_rates_by_position": (0.75, 0.25),
        },
    },
    "everything accepted": {
        "vllm": {
            "num_drafts": 2,
            "num_draft_tokens": 4,
            "num_accepted_tokens": 4,
            "draft_acceptance_rate": 1.0,
            "mean_acceptance_length": 3.0,
            "per_position_acceptance_rate": (1.0, 1.0),
        },
        "sglang": {
            "completion_tokens": 7,
            "spec_verify_ct": 2,
            "spec_num_correct_drafts": 4,
            "spec_num_proposed_drafts": 4,
            "spec_accept_length": 3.5,
            "spec_accept_length_mean_of_requests": 3.5,
            "spec_accept_rate": 1.0,
            "spec_correct_drafts_histogram": (0, 0, 2),
            "spec_accept_histogram": (0, 0, 2),
        },
        # Chunks 1, 3, 3: length 2 was not observed, and the rate at 3 is given 1, not 2.
        "specdec_bench": {
            "Average_AL": 7 / 3,
            "Acceptance_Length_Histogram": {1: 1, 3: 2},
            "Conditional_Acceptance_Rate": {1: 1.0, 3: 2 / 3},
            "Joint_Acceptance_Rate": {1: 1.0, 3: 2 / 3},
        },
        "aiperf": {
            "spec_decode_acceptance_length": 3.0,
            "spec_decode_token_weighted_acceptance_length": 3.0,
            "spec_decode_draft_acceptance_rate": 100.0,
            "spec_decode_overall_draft_acceptance_rate": 100.0,
            "spec_decode_accepted_per_verified": 1.0,
            "total_spec_decode_steps": 2,
            "total_accepted_draft_tokens": 4,
            "total_draft_tokens": 4,
            "pooled_spec_decode_acceptance_histogram": {2: 2},
        },
        "spec_bench": {"mean_accepted_tokens": 3.0},
        "eagle": {"tau": 3.0, "tau_of_new_tokens_and_idxs": 6.0, "alpha": (1.0, 1.0)},
        "llama.cpp": {
            "predicted_n": 7,
            "draft_n": 4,
            "draft_n_accepted": 4,
            "draft_acceptance": 1.0,
            "mean_acceptance_length": 3.0,
            "acceptance_rate_per_position": (1.0, 1.0),
            "spec_decode_num_drafts_total": 2,
            "spec_decode_num_draft_tokens_total": 4,
            "spec_decode_num_accepted_tokens_total": 4,
        },
        "deepspec": {
            "acceptance_length": 3.0,
            "draft_tokens_per_proposal": 2.0,
            "verify_rate": 1.0,
            "accept_rates_by_position": (1.0, 1.0),
        },
    },
    "stop token accepted": {
        "vllm": {"num_accepted_tokens": 3, "mean_acceptance_length": 2.5},
        "sglang": {"completion_tokens": 4, "spec_accept_length": 2.0, "spec_accept_rate": 0.75},
        # Chunks 1, 2 and a last one that is the stop token alone, which is dropped.
        "specdec_bench": {"Average_AL": 1.5, "Acceptance_Length_Histogram": {1: 1, 2: 1}},
        "aiperf": {
            "spec_decode_acceptance_length": 2.5,
            "spec_decode_accepted_per_verified": 5 / 6,
        },
        # The sequence grows by 2, then by the root and the stop token.
        "spec_bench": {"mean_accepted_tokens": 2.0},
        "eagle": {"tau": 2.5},
        "llama.cpp": {"predicted_n": 4, "mean_acceptance_length": 2.5},
        # The second proposal ends with the stop token, the first of its 2: 1 proposed, 1 accepted,
        # 1 emitted. So 2 + 1 tokens of 2 steps that proposed 2 + 1.
        "deepspec": {
            "acceptance_length": 1.5,
            "draft_tokens_per_proposal": 1.5,
            "verify_rate": 3 / 5,
            "accept_rates_by_position": (1.0, 0.0),
        },
    },
    "stop token is the extra token": {
        "deepspec": {"acceptance_length": 2.5, "accept_rates_by_position": (1.0, 0.5)},
        "vllm": {"mean_acceptance_length": 2.5},
        "sglang": {"spec_accept_length": 3.0},
        "specdec_bench": {"Average_AL": 5 / 3, "Acceptance_Length_Histogram": {1: 1, 2: 2}},
        # One more step, whose root is the stop token.
        "spec_bench": {"mean_accepted_tokens": 2.0},
    },
    "stop token from prefill": {
        "vllm": {"num_drafts": 0, "draft_acceptance_rate": NAN, "mean_acceptance_length": NAN},
        "sglang": {"completion_tokens": 1, "spec_accept_length": NAN, "spec_accept_histogram": ()},
        "specdec_bench": {"Average_AL": NAN, "Acceptance_Length_Histogram": {}},
        "aiperf": {"spec_decode_acceptance_length": 1.0, "total_spec_decode_steps": 0},
        "spec_bench": {"mean_accepted_tokens": 1.0},
        "eagle": {"tau": NAN, "tau_of_new_tokens_and_idxs": NAN, "alpha": ()},
        "llama.cpp": {"draft_n": 0, "draft_acceptance": NAN},
    },
    "length limit": {
        "vllm": {"mean_acceptance_length": 2.5},
        "sglang": {"spec_accept_length": 2.0},
        "specdec_bench": {"Average_AL": 4 / 3},
        "spec_bench": {"mean_accepted_tokens": 2.5},
        "llama.cpp": {"predicted_n": 4, "mean_acceptance_length": 2.5},
    },
    "tree": {
        "vllm": {"num_draft_tokens": 12, "draft_acceptance_rate": 1 / 12},
        "sglang": {"spec_accept_rate": 1 / 12, "spec_accept_length": 2.0},
        "aiperf": {"spec_decode_accepted_per_verified": 3 / 14},
        "eagle": {"alpha": (1 / 2, 0.0)},
    },
    "a step without a draft": {
        "vllm": {"num_drafts": 1, "mean_acceptance_length": 3.0},
        "sglang": {
            "spec_verify_ct": 2,
            "spec_accept_length": 2.5,
            "spec_correct_drafts_histogram": (1, 0, 1),
        },
        "aiperf": {
            "pooled_spec_decode_acceptance_histogram": {2: 1},
            "total_spec_decode_steps": 1,
            "spec_decode_acceptance_length": 3.0,
        },
        "llama.cpp": {"mean_acceptance_length": 3.0},
        "eagle": {"tau": 2.0},
        # Both steps are proposals, one of nothing; only the first proposed a token at position 0.
        "deepspec": {
            "acceptance_length": 2.0,
            "draft_tokens_per_proposal": 1.0,
            "verify_rate": 1.0,
            "accept_rates_by_position": (1.0, 1.0),
        },
    },
}


@pytest.mark.parametrize(
    ("journal", "peer"), [(name, peer) for name in EXPECTED for peer in EXPECTED[name]]
)
def test_figures_worked_by_hand(journal, peer):
    found = as_peers(JOURNALS[journal], [peer])[peer]
    for name, expected in EXPECTED[journal][peer].items():
        assert type(found[name]) is type(expected), name
        assert found[name] == pytest.approx(expected, nan_ok=True, abs=1e-12), name


def test_every_figure_of_every_project_is_worked_by_hand():
    for journal in ("nothing accepted", "partly", "everything accepted"):
        assert set(EXPECTED[journal]) == set(PEERS)
        for peer, figures in as_peers(JOURNALS[journal], list(PEERS)).items():
            assert list(figures) == list(EXPECTED[journal][peer])


def test_figures_of_a_journal_are_those_of_its_records(tmp_path):
    cases = JOURNALS["partly"]
    with Journal(tmp_path / "journal.jsonl", {"fingerprint": "1"}) as journal:
        for record in cases:
            journal.append(record)
    read = read_journal(tmp_path / "journal.jsonl").cases
    assert as_peers(read, list(PEERS)) == as_peers(cases, list(PEERS))


def test_order_of_cases_and_cases_in_error_do_not_matter():
    cases = JOURNALS["partly"]
    error = case("z", [2, 2], [3, 3], verdict=Verdict.ERROR)
    assert as_peers([error, *cases[::-1]], list(PEERS)) == as_peers(cases, list(PEERS))


def test_no_case_has_no_figure_and_does_not_crash():
    for name, figures in as_peers([], list(PEERS)).items():
        for value in figures.values():
            empty = value in (0, (), {}) or (isinstance(value, float) and math.isnan(value))
            assert empty, (name, value)


def test_the_pooled_rate_is_no_mean_of_rates():
    # 1 of 2 and 9 of 10 are 10 of 12, not 70%.
    cases = [case("a", [1], [2]), case("b", [9], [10], nodes=10, depth=10)]
    found = as_peers(cases, ["vllm", "aiperf"])
    assert found["vllm"]["draft_acceptance_rate"] == pytest.approx(10 / 12)
    assert found["aiperf"]["spec_decode_overall_draft_acceptance_rate"] == pytest.approx(1000 / 12)
    assert found["aiperf"]["spec_decode_draft_acceptance_rate"] == pytest.approx(70)


def test_an_unknown_project_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="--as: unknown value 'vlm'; did you mean 'vllm'"):
        as_peers([], ["vlm"])


def test_counters_are_whole_numbers_of_the_measured_cases_whatever_stands_between_them():
    error = case("b", [0], [1], verdict=Verdict.ERROR)
    counters = case_counters([case("c", [1], [2]), error, case("a", [2, 0], [3, 1])])
    assert [c.told.accepted.tolist() for c in counters] == [[2, 0], [1]]
    for column in ("accepted", "committed", "drafted", "depth"):
        assert {getattr(c.told, column).dtype for c in counters} == {np.dtype(np.int64)}


def counted(case_id, counts, tokens, reason="length"):
    """A case of an engine that tells its counters and no steps."""
    output = DecodedOutput(token_ids=tuple(range(tokens)), stop_reason=reason, seconds=1.0)
    return replace(case(case_id, [], []), plain=output, speculative=output, counts=counts)


COUNTED = [
    # 2 drafted steps of 3 keep 2 and 1; with 9 committed tokens there were 6 steps.
    counted("a", Counts(drafted_steps=2, drafted=6, accepted=3, lengths=(0, 1, 1, 0), steps=6), 10),
    # 3 drafted steps of 3 keep 0, 0 and 3; 6 committed tokens: each of 3 steps made 1 more.
    counted("b", Counts(drafted_steps=3, drafted=9, accepted=3, lengths=(2, 0, 0, 1), steps=3), 7),
]


def test_figures_of_counters_alone_worked_by_hand():
    """5 drafted steps, 15 drafted, 6 accepted; 17 tokens; 9 − 3 + 6 − 3 = 9 steps."""
    found = as_peers(COUNTED, list(PEERS))
    assert found["vllm"] == {
        "num_drafts": 5,
        "num_draft_tokens": 15,
        "num_accepted_tokens": 6,
        "draft_acceptance_rate": 6 / 15,
        "mean_acceptance_length": 1 + 6 / 5,
        "per_position_acceptance_rate": (3 / 5, 2 / 5, 1 / 5),
    }
    assert found["sglang"]["spec_verify_ct"] == 9
    assert found["sglang"]["spec_accept_length"] == 17 / 9
    assert found["sglang"]["spec_correct_drafts_histogram"] == (6, 1, 1, 1)
    assert found["aiperf"]["pooled_spec_decode_acceptance_histogram"] == {0: 2, 1: 1, 2: 1, 3: 1}
    assert found["aiperf"]["spec_decode_acceptance_length"] == (1 + 3 / 2 + 1 + 1) / 2
    assert found["aiperf"]["total_spec_decode_steps"] == 5
    assert found["eagle"]["tau"] == (6 + 9) / 9
    assert found["eagle"]["alpha"] == (3 / 9, 2 / 3, 1 / 2)
    assert found["llama.cpp"]["spec_decode_num_drafts_total"] == 5
    for name in ("specdec_bench", "spec_bench", "deepspec"):
        assert all(math.isnan(value) for value in found[name].values()), name


def test_what_steps_decide_is_not_available_where_they_lie_between_two_bounds():
    """Without the steps, 6 to 8 and 3 to 6 of them are possible; the fewest are not the steps."""
    untold = [replace(case, counts=replace(case.counts, steps=None)) for case in COUNTED]
    assert [(c.steps, c.most_steps) for c in case_counters(untold)] == [(6, 8), (3, 6)]
    told, found = (as_peers(cases, list(PEERS)) for cases in (COUNTED, untold))
    assert found["vllm"] == told["vllm"]
    assert found["aiperf"] == told["aiperf"]
    assert found["llama.cpp"] == told["llama.cpp"]
    of_steps = ("spec_verify_ct", "spec_accept_length", "spec_accept_length_mean_of_requests",
                "spec_correct_drafts_histogram", "spec_accept_histogram")  # fmt: skip
    assert {name for name in of_steps if not np.all(np.isnan(found["sglang"][name]))} == set()
    eagle = found["eagle"]
    assert np.isnan([eagle["tau"], eagle["tau_of_new_tokens_and_idxs"], eagle["alpha"][0]]).all()
    assert eagle["alpha"][1:] == (2 / 3, 1 / 2)
    # Nothing accepted: nothing can have been cut off, and every token was a step.
    nothing = [counted("c", Counts(drafted_steps=2, drafted=6, accepted=0), 10)]
    assert as_peers(nothing, ["sglang"])["sglang"]["spec_verify_ct"] == 9


def test_what_counters_do_not_tell_is_not_available_and_never_0():
    untold = counted("c", None, 10)
    for figures in as_peers([untold], list(PEERS)).values():
        assert all(math.isnan(value) for value in figures.values())
    assert case_counters([untold, case("d", [1], [2])]) == case_counters([case("d", [1], [2])])
    bare = as_peers([counted("c", Counts(drafted=6, accepted=3), 10)], list(PEERS))
    assert bare["vllm"]["num_draft_tokens"] == 6
    assert bare["vllm"]["draft_acceptance_rate"] == 0.5
    for name, figure in (
        ("vllm", "num_drafts"),
        ("vllm", "mean_acceptance_length"),
        ("vllm", "per_position_acceptance_rate"),
        ("aiperf", "spec_decode_acceptance_length"),
        ("aiperf", "pooled_spec_decode_acceptance_histogram"),
        ("sglang", "spec_correct_drafts_histogram"),
        ("sglang", "spec_verify_ct"),
        ("eagle", "tau"),
    ):
        assert math.isnan(bare[name][figure]), figure
    lying = counted("c", Counts(drafted_steps=1, drafted=1000, accepted=1000), 8)
    assert case_counters([lying]) == []


@pytest.mark.parametrize(
    ("committed", "growth"),
    [([3, 1, 3, 2], (3 + 1 + 3 + 3) / 4), ([3, 1, 3, 4], (3 + 1 + 3 + 4 + 1) / 5)],
)
def test_what_a_stop_token_cuts_off_is_taken_off_the_last_step(committed, growth):
    """Steps that accept 2, 0, 2 and 3: the last is cut after its second token, or not at all."""
    stopped = case("a", [2, 0, 2, 3], committed, stop=True, nodes=3, depth=3)
    assert as_peers([stopped], ["spec_bench"])["spec_bench"]["mean_accepted_tokens"] == growth
