"""The smallest table of a fault, and the test of it that is printed."""

import sys
import types

import pytest

from draftproof.kernels import DraftTable, declare, require_law
from draftproof.kernels.contract import declared
from draftproof.kernels.examination import Examination
from draftproof.kernels.planted.catalogue import CATALOGUE
from draftproof.kernels.regression import LawError
from draftproof.kernels.suite import examine


@pytest.fixture
def printed():
    """From a planted fault to the regression test that its examination prints."""

    def make(name):
        planted = CATALOGUE[name]
        facts = declared(object(), **planted.facts)
        examination = Examination(kernel=planted.make(), facts=facts, name="own_kernels:kernel")
        check = "law given the draft" if examination.exact else "law by counting"
        (found,) = examine(examination, [check])
        return found.finding.lines[-1].partition("\n")[2]

    return make


@pytest.mark.parametrize(
    ("fault", "control"),
    [
        ("lenient", "rejection"),
        ("correction-row", "rejection"),
        ("counted", "rejection"),
        ("rejected-keeps-mass", "one-hot"),
        ("drawn-no-residual", "rejection-own"),
        ("drawn-hot-bonus", "rejection-own"),
        ("tree-kept-mass", "one-hot-tree"),
    ],
)
def test_the_printed_test_fails_on_the_fault_and_passes_on_a_right_kernel(
    printed, fault, control, monkeypatch
):
    text = printed(fault)
    for name, fails in ((fault, True), (control, False)):
        module = types.ModuleType("own_kernels")
        module.kernel = CATALOGUE[name].make()
        monkeypatch.setitem(sys.modules, "own_kernels", module)
        scope = {}
        exec(compile(text, "pasted", "exec"), scope)
        test = scope["test_kernel_on_a_small_table"]
        if fails:
            with pytest.raises(LawError):
                test()
        else:
            test()


@pytest.mark.parametrize("fault", ["no-residual", "drawn-no-residual"])
def test_the_smallest_table_is_small(printed, fault):
    text = printed(fault)
    assert "tokens=(" in text
    table = eval(text[text.index("DraftTable(") : text.rindex("    require_law")].strip())
    assert len(table) == 1
    assert len(table.ids) == 2
    assert all(len(f"{value:g}") <= 4 for value in table.target[0])


def test_a_law_error_says_what_and_by_how_much():
    table = DraftTable(tokens=(1,), target=[[0.25, 0.75], [1, 0]], draft=[[0, 1], [1, 0]])
    kernel = declare(rule="rejection")(lambda call: CATALOGUE["lenient"].make()(call))
    with pytest.raises(LawError, match=r"probability 0\.83\d+, and must be with 0\.75"):
        require_law(kernel, table)
    require_law(CATALOGUE["rejection"].make(), table)
