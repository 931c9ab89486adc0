"""docs/rules.md says what the code does: its exact parts are computed again."""

import runpy
from pathlib import Path

from draftproof.laws import RULES

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = (DOCS / "rules.md").read_text(encoding="utf-8")
SCRIPT = runpy.run_path(str(DOCS / "make_rules.py"))


def test_the_page_has_the_rules_as_they_are():
    """When it fails: python docs/make_rules.py."""
    assert SCRIPT["rules_table"]() in PAGE


def test_the_page_has_the_exact_lengths_and_shares_of_the_bound():
    """When it fails: python docs/make_rules.py."""
    assert SCRIPT["exact_table"]() in PAGE


def test_every_rule_that_draws_is_measured():
    measured = {rule for rule, _ in SCRIPT["STEPS"]}
    assert measured == {name for name, facts in RULES.items() if not facts.greedy_only}
