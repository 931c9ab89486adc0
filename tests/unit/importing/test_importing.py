"""Other tools' files, worked out by hand: each figure is the one that the tool prints of the file.

``tests/results`` has one small file of each format, written for this project.
"""

import gzip
import json
import math
from fractions import Fraction
from pathlib import Path

import pytest

from draftproof.errors import DataError, UsageError
from draftproof.importing import FORMATS, imported_run, read_results
from draftproof.report import load_run
from draftproof.report.writing import write_report
from draftproof.statistics import PEERS, as_peers, summarise
from draftproof.statistics.resampling import Resampling
from draftproof.trace import Verdict

RESULTS = Path(__file__).parents[2] / "results"
FILES = {
    "vllm": "vllm.jsonl",
    "vllm-bench": "vllm_bench.json",
    "aiperf": "aiperf.jsonl",
    "aiperf-summary": "aiperf.json",
    "specdec-bench": "specdec_bench.jsonl",
    "specdec-bench-summary": "specdec_bench.json",
    "spec-bench": "spec_bench.jsonl",
    "speed-bench": "speed_bench.json",
}


def read(name, **options):
    return read_results([RESULTS / FILES[name]], **options)


def peer(name, which, domain=None):
    cases = [case for case in read(name)[2].cases if domain in (None, case.domain)]
    return as_peers(cases, [which])[which]


def near(value):
    return pytest.approx(float(value), abs=1e-12)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_recognised_by_what_a_file_holds(name, tmp_path):
    copy = tmp_path / "results.txt"
    copy.write_bytes((RESULTS / FILES[name]).read_bytes())
    found, _, results = read_results([copy])
    assert found.name == name
    asked = read_results([copy], format_name=name)[2]
    assert [case.to_json() for case in asked.cases] == [case.to_json() for case in results.cases]


def test_vllms_figures_are_its_own():
    """17 drafts of 3, 20 accepted: 6 kept none, 5 one, 3 two, 3 three."""
    found = peer("vllm", "vllm")
    assert (found["num_drafts"], found["num_draft_tokens"], found["num_accepted_tokens"]) == (
        17,
        51,
        20,
    )
    assert found["draft_acceptance_rate"] == near(Fraction(20, 51))
    assert found["mean_acceptance_length"] == near(1 + Fraction(20, 17))
    assert found["per_position_acceptance_rate"] == tuple(
        near(Fraction(steps, 17)) for steps in (11, 6, 3)
    )


def test_vllm_bench_states_what_its_counters_come_to():
    stated = json.loads((RESULTS / FILES["vllm-bench"]).read_text())
    found = peer("vllm-bench", "vllm")
    assert 100 * found["draft_acceptance_rate"] == near(stated["spec_decode_acceptance_rate"])
    assert found["mean_acceptance_length"] == near(stated["spec_decode_acceptance_length"])
    rates = stated["spec_decode_per_position_acceptance_rates"]
    assert found["per_position_acceptance_rate"] == tuple(map(near, rates))
    # 14 tokens of 3 requests, 3 of them prefill's: 11 that steps committed, of which 6 were kept.
    overall = summarise(read("vllm-bench")[2].cases, Resampling(resamples=100)).overall
    assert overall.metrics["block_efficiency"].value == near(Fraction(11, 5))
    assert "interval needs" in overall.metrics["acceptance_rate_drafted"].reason


def test_aiperfs_figures_are_its_own():
    """Requests kept 5 of 8 in 4 steps, 2 of 8 in 4, and 3 of 4 in 2."""
    found = peer("aiperf", "aiperf")
    assert found["spec_decode_acceptance_length"] == near(
        (1 + Fraction(5, 4) + 1 + Fraction(2, 4) + 1 + Fraction(3, 2)) / 3
    )
    assert found["spec_decode_token_weighted_acceptance_length"] == near(1 + Fraction(10, 10))
    assert found["spec_decode_draft_acceptance_rate"] == near(
        100 * (Fraction(5, 8) + Fraction(2, 8) + Fraction(3, 4)) / 3
    )
    assert found["spec_decode_overall_draft_acceptance_rate"] == near(50)
    assert found["spec_decode_accepted_per_verified"] == near(
        (Fraction(9, 12) + Fraction(6, 12) + Fraction(5, 6)) / 3
    )
    assert found["pooled_spec_decode_acceptance_histogram"] == {0: 3, 1: 4, 2: 3}
    cases = {case.case_id: case for case in read("aiperf")[2].cases}
    assert list(cases) == [f"session/0000{n}" for n in (1, 0, 2, 3)]
    assert cases["session/00003"].verdict is Verdict.ERROR
    assert "cancelled after" in cases["session/00003"].message
    assert cases["session/00000"].speculative.seconds == near(0.15)


def test_sums_over_requests_have_no_mean_of_requests():
    found = peer("aiperf-summary", "aiperf")
    assert found["spec_decode_token_weighted_acceptance_length"] == near(2)
    assert found["pooled_spec_decode_acceptance_histogram"] == {0: 3, 1: 4, 2: 3}
    for name in ("acceptance_length", "draft_acceptance_rate", "accepted_per_verified"):
        assert math.isnan(found[f"spec_decode_{name}"])


def test_specdec_benchs_figures_are_its_own():
    """Chunks 3 1 2, 1 1 4 4 and 1: of eight, four are 1, one 2, one 3 and two 4."""
    found = peer("specdec-bench", "specdec_bench")
    assert found["Average_AL"] == near((Fraction(6, 3) + Fraction(10, 4) + Fraction(1, 1)) / 3)
    assert found["Acceptance_Length_Histogram"] == {1: 4, 2: 1, 3: 1, 4: 2}
    assert found["Conditional_Acceptance_Rate"] == {
        1: near(1),
        2: near(Fraction(4, 8)),
        3: near(Fraction(3, 4)),
        4: near(Fraction(2, 3)),
    }
    # This version's joint rate is the mean of the shares from the second length on.
    assert found["Joint_Acceptance_Rate"] == {
        1: near(1),
        2: near(Fraction(4, 8)),
        3: near((Fraction(4, 8) + Fraction(3, 8)) / 2),
        4: near((Fraction(4, 8) + Fraction(3, 8) + Fraction(2, 8)) / 3),
    }
    assert peer("specdec-bench", "specdec_bench", "coding")["Average_AL"] == near(Fraction(9, 4))


def test_specdec_benchs_file_of_rates_states_what_its_histogram_comes_to():
    [stated] = json.loads((RESULTS / FILES["specdec-bench-summary"]).read_text())
    found = peer("specdec-bench-summary", "specdec_bench")
    for name in ("Conditional_Acceptance_Rate", "Joint_Acceptance_Rate"):
        assert {str(k): v for k, v in found[name].items()} == {
            k: near(v) for k, v in stated[name].items()
        }
    assert found["Acceptance_Length_Histogram"] == {1: 3, 2: 1, 4: 2}
    assert math.isnan(found["Average_AL"])


def test_spec_benchs_figure_is_its_own_in_every_subtask():
    """The mean of all accept lengths; the question in error is left out, and said to be."""
    whole = [3, 1, 4, 2, 2, 2, 1, 1, 1, 5, 1]
    assert peer("spec-bench", "spec_bench")["mean_accepted_tokens"] == near(
        Fraction(sum(whole), 11)
    )
    assert peer("spec-bench", "spec_bench", "mt_bench")["mean_accepted_tokens"] == near(
        Fraction(14, 6)
    )
    assert peer("spec-bench", "spec_bench", "translation")["mean_accepted_tokens"] == near(
        Fraction(9, 5)
    )
    cases = read("spec-bench")[2].cases
    overall = summarise(cases, Resampling(resamples=100)).overall
    assert overall.metrics["block_efficiency"].value == near(Fraction(23, 11))
    assert overall.metrics["accepted_length"].value == near(Fraction(12, 11))
    assert "does not tell" in overall.metrics["acceptance_rate_drafted"].reason
    assert [case.case_id for case in cases][:2] == [
        "spec_bench/mt_bench/81/turns1-2",
        "spec_bench/mt_bench/82",
    ]
    assert cases[-1].verdict is Verdict.ERROR


def test_speed_benchs_rate_is_its_own():
    assert peer("speed-bench", "llama.cpp")["draft_acceptance"] == near(Fraction(28, 48))
    assert peer("speed-bench", "llama.cpp", "coding")["draft_acceptance"] == near(Fraction(21, 38))
    assert peer("speed-bench", "llama.cpp")["predicted_n"] == 76
    # Steps are not told: sample x1 made 19 tokens beside prefill's, of which 12 were kept.
    overall = summarise(read("speed-bench")[2].cases, Resampling(resamples=100)).overall
    assert overall.steps == (19 - 12) + (28 - 9) + 9 + (15 - 7)
    assert overall.most_steps > overall.steps


@pytest.mark.parametrize("name", FORMATS)
def test_a_report_of_it_is_read_back_as_it_was_written(name, tmp_path):
    found, files, results = read(name)
    run = imported_run(found, files, results, name="theirs")
    report = write_report(tmp_path, run, results.cases)
    saved = load_run(tmp_path)
    assert saved.run == run
    for written, case in zip(results.cases, saved.cases, strict=True):
        assert (case.case_id, case.counts, case.verdict) == (
            written.case_id,
            written.counts,
            written.verdict,
        )
        assert case.prompt_tokens == written.prompt_tokens
        line = json.loads(json.dumps(written.to_json()))
        assert written.from_json(line).to_json() == written.to_json() == case.to_json()
        if written.speculative is not None:
            assert case.speculative.length == written.speculative.length
            assert not case.speculative.ids_told
            assert case.plain is None
    text = report.terminal_text
    assert "imported from" in text
    assert "not told by the files" in text
    assert "not judged: they are another tool's" in " ".join(text.split())
    assert "tree " not in text
    for note in results.notes:
        assert " ".join(note.split())[:60] in " ".join(text.split())
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["overall"]["acceptance_probability"]["value"] is None


def test_a_domain_may_be_given_for_all():
    assert {case.domain for case in read("spec-bench", domain="mine")[2].cases} == {"mine"}
    assert {case.domain for case in read("vllm")[2].cases} == {"unknown"}
    with pytest.raises(UsageError, match="overall"):
        read("vllm", domain="overall")


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"--format.*did you mean 'vllm'"):
        read("vllm", format_name="vlm")


def of(tmp_path, text, name="r.jsonl"):
    path = tmp_path / name
    path.write_text(text)
    return read_results([path])


GOOD = (RESULTS / FILES["vllm"]).read_text().splitlines()
BENCH = (RESULTS / FILES["spec-bench"]).read_text().splitlines()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        ("[]", "empty list"),
        ("{", "line 1: not valid JSON"),
        ('{"a": 1}', r"no known result \(an object with a\).*vllm:.*speed-bench:"),
        ("3", r"no known result \(a number\)"),
        (GOOD[0] + "\n" + GOOD[1][:-9], "line 2: the last line is cut off"),
        (GOOD[0] + "\n" + GOOD[1][:-9] + "\n" + GOOD[2] + "\n", "line 2: not valid JSON"),
        (GOOD[0] + "\n" + BENCH[0] + "\n", r"line 2: the file is vLLM.*and this is Spec-Bench"),
        (GOOD[0] + '\n{"b": 2}\n', r"line 2: the file is vLLM.*none of it \(an object with b\)"),
        (GOOD[0] + "\n[1]\n", r"line 2: .*none of it \(a list\)"),
        (GOOD[0].replace(": 24,", ": -24,").replace(":24,", ":-24,"), "negative"),
        (GOOD[0].replace(":24,", ":NaN,"), "NaN, which is no number"),
        (GOOD[0] + "\n" + GOOD[1].replace(":12,", ":NaN,") + "\n", "line 2.*NaN"),
        (GOOD[0].replace(":24,", ":1e400,"), "too large"),
        (GOOD[0].replace(":24,", ":1e17,"), "more than anything counts"),
        (GOOD[0].replace(":24,", ":" + "9" * 5000 + ","), "r.jsonl"),
        (GOOD[0].replace(":24,", ':"24",'), "num_draft_tokens: expected a number, found text"),
        (GOOD[0].replace(":24,", ":2.5,"), "expected a whole number"),
        (GOOD[0].replace(":24,", ":true,"), "found true or false"),
        (GOOD[0].replace(":24,", ":null,"), "there is no 'num_draft_tokens'"),
        (GOOD[0].replace("[3,1,3,1]", "{}"), "r.jsonl|contradict|accepted"),
        (GOOD[0].replace("[3,1,3,1]", "[3,1,-3,1]"), r"acceptance_histogram\[2\].*negative"),
        (BENCH[1] + "\n" + BENCH[1] + "\n", r"line 2: question .*stands at .*line 1 already"),
        (BENCH[1].replace('"accept_lengths": [2, 2]', '"x": 1'), "no 'accept_lengths'"),
        ("[" * 100_000, "r.jsonl"),
        ('{"error": {"message": "no such model"}}', "no known result"),
    ],
)
def test_odd_files_are_refused_with_the_place_and_the_reason(tmp_path, text, said):
    if "contradict" in said:
        _, _, results = of(tmp_path, text)
        assert results.cases[0].contradictions
        return
    with pytest.raises(DataError, match=said) as caught:
        of(tmp_path, text)
    assert "r.jsonl" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        read_results([tmp_path / "no.json"])
    with pytest.raises(DataError, match="is a folder"):
        read_results([tmp_path])
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        read_results([tmp_path / "b"])


def test_a_file_may_be_packed_and_in_parts(tmp_path):
    first, second = tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl"
    first.write_bytes(gzip.compress((BENCH[0] + "\n").encode()))
    second.write_text("\n".join(BENCH[1:]))
    found = read_results([first, second])[2].cases
    assert [case.case_id for case in found] == [c.case_id for c in read("spec-bench")[2].cases]


def test_figures_that_a_file_states_are_held_against_its_counters(tmp_path):
    text = GOOD[0].replace('"mean_acceptance_length":2.25', '"mean_acceptance_length":3.5')
    [case] = of(tmp_path, text)[2].cases
    assert "stated as 3.5, and the counters come to 2.25" in case.contradictions[0]
    assert math.isnan(as_peers([case], ["vllm"])["vllm"]["num_drafts"])


def test_a_request_that_failed_is_in_error(tmp_path):
    line = json.dumps({"custom_id": "x", "response": None, "error": {"message": "gone"}})
    cases = of(tmp_path, line + "\n" + "\n".join(GOOD))[2].cases
    assert cases[0].verdict is Verdict.ERROR
    assert cases[0].message == "gone"
    assert cases[0].case_id == "request/x"


def test_a_batchs_answers_are_read_by_their_custom_ids(tmp_path):
    lines = [
        json.dumps({"custom_id": f"q{i}", "response": {"body": json.loads(line)}, "error": None})
        for i, line in enumerate(GOOD)
    ]
    cases = of(tmp_path, "\n".join(lines))[2].cases
    assert [case.case_id for case in cases] == ["request/q0", "request/q1", "request/q2"]
    assert cases[0].counts == read("vllm")[2].cases[0].counts


def test_ordered_lists_of_steps_alone_are_read(tmp_path):
    line = {
        "num_spec_steps": 3,
        "num_draft_tokens": 9,
        "num_accepted_draft_tokens": 4,
        "per_step_accepted": [0, 3, 1],
        "per_step_drafted": [3, 3, 3],
    }
    [case] = of(tmp_path, json.dumps(line))[2].cases
    assert case.counts.lengths == (1, 1, 0, 1)
    assert case.speculative.length is None
    overall = summarise([case], Resampling(resamples=100)).overall
    assert overall.metrics["acceptance_rate_drafted"].value == near(Fraction(4, 9))
    # Neither the output's length nor its steps are told.
    assert math.isnan(overall.metrics["block_efficiency"].value)


def test_a_format_that_is_asked_for_says_what_a_file_lacks():
    with pytest.raises(DataError, match="there is no 'metadata'"):
        read("vllm", format_name="aiperf")
    with pytest.raises(DataError, match="there is no 'results'|no 'config'"):
        read("spec-bench", format_name="speed-bench")


def test_a_category_may_not_be_called_as_all_of_them(tmp_path):
    with pytest.raises(DataError, match="cannot be called 'overall'.*--domain"):
        of(tmp_path, BENCH[2].replace("translation", "overall"))
    with pytest.raises(DataError, match="overall"):
        of(tmp_path, BENCH[2].replace("translation", " Overall "))


ODD = (None, True, -1, 1.5, 2**60, 1e300, "x", [2**60], {"0": -1})


def places(value, above=()):
    """Every place in a JSON value, as keys and indices."""
    yield above
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    for key, each in inner:
        yield from places(each, (*above, key))


def changed(value, place, odd):
    """The value with another one at a place."""
    if not place:
        return odd
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[place[0]] = changed(value[place[0]], place[1:], odd)
    return copy


def read_or_refused(path, name):
    """The cases of a file, or the message that refuses it."""
    try:
        return read_results([path], format_name=name)[2].cases, ""
    except DataError as error:
        return (), str(error)


@pytest.mark.parametrize("name", FORMATS)
def test_an_odd_value_anywhere_is_refused_or_harmless(name, tmp_path):
    """Each value of a file, replaced by each odd one: an error with the file's name, or figures."""
    text = (RESULTS / FILES[name]).read_text()
    whole = json.loads(text if FILES[name].endswith(".json") else text.split("\n")[0])
    if name == "speed-bench":
        del whole["results"][2:]
    path = tmp_path / "r.json"
    tried, said = 0, []
    for place in places(whole):
        for odd in ODD:
            path.write_text(json.dumps(changed(whole, place, odd)))
            cases, message = read_or_refused(path, name)
            tried += 1
            said += [message] if message else []
            as_peers(cases, list(PEERS))
            for case in cases:
                assert case.from_json(json.loads(json.dumps(case.to_json()))).counts == case.counts
    assert tried / 20 < len(said) < tried
    for message in said:
        assert "r.json" in message or "nothing can have counted" in message
