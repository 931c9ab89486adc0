"""The checks as a suite: statuses, what is said, the command, the pytest form, adapters."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers.generation.utils import _speculative_sampling

from draftproof.cli import main
from draftproof.conformance.check_result import Status
from draftproof.errors import UsageError
from draftproof.kernels import TreeCall, declare
from draftproof.kernels.calling import Tables
from draftproof.kernels.contract import declared
from draftproof.kernels.examination import Examination
from draftproof.kernels.known import transformers_speculative_sampling
from draftproof.kernels.planted.parts import Chain
from draftproof.kernels.suite import CHECKS, examine
from draftproof.kernels.tables import DraftTable

HEAVY = ("vocabularies", "drafts of 0 to 16 tokens", "greedy rows", "law by counting")
LIGHT = [name for name in CHECKS if name not in HEAVY]


def findings(kernel, names=(), *, rows=20_000, **facts):
    examination = Examination(kernel=kernel, facts=declared(kernel, **facts), rows=rows)
    return {check.name: check.finding for check in examine(examination, names)}


def test_every_finding_that_passed_examined_places():
    for facts in ({}, {"randomness": "generator"}):
        for name, finding in findings(Chain(), LIGHT, **facts).items():
            if finding.status is Status.PASSED:
                assert finding.places > 0, name
            else:
                assert finding.lines, name


def test_float64_laws_are_exact_to_a_millionth_of_a_millionth():
    for factor, status in ((1, Status.PASSED), (1 + 1e-10, Status.FAILED)):

        class Off(Chain):
            def keeps(self, p, q, coin):
                return coin * q * factor < p  # noqa: B023

        found = findings(Off(), ["law given the draft"], dtype="float64")
        assert found["law given the draft"].status is status, factor


def test_a_kernel_that_raises_has_failed():
    def kernel(call):
        raise RuntimeError("no such shape")

    for finding in findings(kernel, ["law given the draft", "order of rows"]).values():
        assert finding.status is Status.FAILED
        assert "the kernel raised on" in finding.lines[0]
        assert "no such shape" in finding.lines[0]


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda call: call.draft_tokens.float(), "not integers"),
        (lambda call: call.draft_tokens[:1], "of shape"),
        (lambda call: (1, 2, 3), "returned 3 values"),
    ],
)
def test_what_no_kernel_may_return_is_said(returned, said):
    (finding,) = findings(returned, ["law given the draft"]).values()
    assert said in finding.lines[0]


def test_a_kernel_whose_uniforms_change_nothing_is_not_passed():
    def kernel(call):
        return call.target_probabilities[:, :1].argmax(-1)

    greedy = [DraftTable(tokens=(), target=[[1, 0]], draft=[[1, 0]], greedy=True)]
    examination = Examination(kernel=kernel, facts=declared(kernel))
    examination.__dict__["tables"] = greedy
    (check,) = examine(examination, ["law given the draft"])
    assert check.finding.status is Status.NOT_TRIED


def test_uniforms_that_are_compared_with_each_other_are_counted_instead():
    class Mixed(Chain):
        def coins(self, call):
            return (call.uniforms + call.uniforms.roll(1, 1)) % 1

    found = findings(Mixed(), ["law given the draft", "law by counting"])
    assert found["law given the draft"].status is not Status.PASSED
    assert found["law by counting"].n > 0


def test_facts_are_declared_and_changed():
    @declare(rule="point-mass")
    def kernel(call): ...

    assert declared(kernel).deterministic
    assert not declared(kernel, rule="rejection").deterministic
    assert declared(kernel, shape="tree").rule == "multi-round"
    for wrong in ({"rule": "rejecting"}, {"dtype": "float8"}, {"randomness": "given"}):
        with pytest.raises(UsageError, match="unknown value"):
            declared(kernel, **wrong)


def test_trees_are_told_by_paths_and_by_siblings():
    parents = torch.tensor([[-1, -1, 0, 0, 1]])
    call = TreeCall(
        tokens=torch.zeros_like(parents),
        parents=parents,
        draft_probabilities=None,
        target_probabilities=torch.zeros(1, 6, 2),
    )
    assert call.first_children().tolist() == [[1, 3, 5, -1, -1, -1]]
    assert call.next_siblings().tolist() == [[-1, 2, -1, 4, -1, -1]]
    assert call.paths().tolist() == [[[0, 1, 3], [0, 1, 4], [0, 2, 5]]]


def test_transformers_speculative_sampling_follows_the_law():
    names = ("law by counting", "independence", "inputs unchanged")
    for name, finding in findings(transformers_speculative_sampling, names, rows=5_000).items():
        assert finding.status is Status.PASSED, (name, finding.lines)


def test_transformers_keeps_a_token_of_probability_0_where_its_uniform_is_0():
    """As docs/kernels.md says: one uniform in 2²⁴ is exactly 0, and 0 ≤ 0/q."""

    def logits(*law):
        return torch.tensor([[law]]).log()

    target = torch.cat([logits(0.0, 0.5, 0.5), logits(0.0, 0.5, 0.5)], 1)
    torch.manual_seed(1)
    torch.rand(2_753_120)  # of this seed's uniforms, the next one is 0
    state = torch.get_rng_state()
    assert float(torch.rand(1)) == 0
    torch.set_rng_state(state)
    tokens, _ = _speculative_sampling(torch.tensor([[0]]), logits(0.5, 0.25, 0.25), 1, target)
    assert tokens[0, 0] == 0


def test_rows_of_several_lengths_are_padded_by_what_is_declared():
    tables = [
        DraftTable(tokens=(1,) * n, target=np.full((n + 1, 2), 0.5), draft=np.full((n + 1, 2), 0.5))
        for n in (0, 2)
    ]
    call = Tables(tables, declared(object(), padding_token=-1)).call(np.array([0, 1]))
    assert call.draft_tokens.tolist() == [[-1, -1], [1, 1]]
    assert call.draft_lengths.tolist() == [0, 2]
    assert replace(call, generator=None).places == 2


def test_the_command_prints_each_check_and_writes_json(tmp_path, monkeypatch, capsys):
    (tmp_path / "kernels_of_mine.py").write_text(
        "from draftproof.kernels.planted.chains import _Lenient\n"
        "from draftproof.kernels.planted.parts import Chain\n"
        "right, wrong = Chain(), _Lenient()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    checks = ["--check", "law given the draft", "--check", "padding"]
    words = ["--json", "found.json", "--markdown", "found.md", *checks]
    assert main(["verify-kernel", "kernels_of_mine:right", *words]) == 0
    out = capsys.readouterr().out
    assert "✓ law given the draft" in out
    assert "no fault found: 2 checks passed" in out
    stored = json.loads((tmp_path / "found.json").read_text())
    assert stored["declared"]["rule"] == "rejection"
    assert [check["status"] for check in stored["checks"]] == ["passed", "passed"]
    shares = sorted(stored["checks"][0]["facts"]["smallest_shares"].values())
    # The last two make differences of a ten thousandth only: a rounding, and a small constant.
    assert shares[-3] <= 1e-4
    assert shares[-1] < 0.05
    assert "# Kernel: kernels_of_mine:right" in (tmp_path / "found.md").read_text()
    assert main(["verify-kernel", "kernels_of_mine:wrong", *checks]) == 1
    out = capsys.readouterr().out
    assert "site: accepted" in out
    assert "the coin is lenient" in out
    assert "from kernels_of_mine import wrong" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a function"),
        (["no_such_module:f"], "cannot be imported"),
        (["math:no_such"], "has no 'no_such'"),
        (["math:pi"], "cannot be called"),
        (["math"], "MODULE:FUNCTION"),
        (["math:sin", "--rule", "reject"], "did you mean 'rejection'"),
        (["math:sin", "--check", "laws"], "--check"),
        (["math:sin", "--rows", "0"], "--rows"),
    ],
)
def test_the_command_refuses_in_one_line(capsys, words, said):
    assert main(["verify-kernel", *words]) == 4
    assert said in capsys.readouterr().err


def test_the_command_tests_itself(capsys):
    words = ["--planted", "counted", "--planted", "sampler-match"]
    assert main(["verify-kernel", "--selftest", *words]) == 0
    out = capsys.readouterr().out
    assert "points to: tokens are counted as kept after a rejection" in out
    assert "1 faults and 1 lossless controls: 0 judged wrongly" in out


def test_the_pytest_form(pytester):
    pytester.makepyfile(
        test_mine="""
        from draftproof.kernels import declare, pytest_checks
        from draftproof.kernels.planted.chains import _NoResidual
        from draftproof.kernels.planted.parts import Chain

        def kernel(call):
            return Chain()(call)

        test_right = pytest_checks(kernel, rule="rejection")
        test_wrong = pytest_checks(_NoResidual(), rule="rejection")
        """
    )
    result = pytester.runpytest(
        "-q", "-p", "no:cacheprovider", "-k", "law and given or order or seed"
    )
    result.assert_outcomes(passed=3, failed=1, skipped=2)
    result.stdout.fnmatch_lines(["*site: correction*", "*the correction is drawn from p*"])


UNFIT = """
import torch

def takes_two(call, generator):
    return call.draft_tokens

def raises_at_once(call):
    raise RuntimeError("needs contiguous input")

def forgets_to_return(call):
    call.draft_tokens
"""


@pytest.mark.parametrize(
    ("kernel", "says"),
    [
        ("takes_two", "takes one argument, the call"),
        ("raises_at_once", "needs contiguous input (unfit_kernels.py, line 8, in raises_at_once)"),
        ("forgets_to_return", "is a `return` missing?"),
    ],
)
def test_what_cannot_be_called_is_not_judged(tmp_path, monkeypatch, capsys, kernel, says):
    (tmp_path / "unfit_kernels.py").write_text(UNFIT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["verify-kernel", f"unfit_kernels:{kernel}"]) == 4
    captured = capsys.readouterr()
    assert says in captured.err
    assert "fault" not in captured.out
