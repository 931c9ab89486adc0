"""Labels: the formats of BIG-Bench Hard, FOLIO and the built-in puzzles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftproof.scoring import extract_label, score_label

RIGHT = [
    ("The answer is (B).", "(B)"),
    ("Options (A), (C) are wrong. So the answer is B.", "(B)"),
    ("Therefore, the correct answer is **(D)**.", "(D)"),
    ("First (A), then (C), so it must be (B)", "(B)"),
    ("Answer: B) the owl", "(B)"),
    (r"\boxed{C}", "(C)"),
    ("True", "True"),
    ("not True is False, so False and True is False. The answer is False.", "False"),
    ("**Answer:** True", "True"),
    ("The statement is not true.", "False"),
    ("Uncertain. It could be true or it could be unknown", "Uncertain"),
    ("#### Unknown", "Uncertain"),
    ("Premises say nothing, so the answer is: uncertain.", "Uncertain"),
    ("Yes, Emil tells the truth.", "Yes"),
    ("Delbert lies. So the answer is No.", "No"),
    ("The argument is deductively invalid.", "invalid"),
    ("The argument is valid.", "valid"),
    ("At first it looks true. In the end it is false, since nobody came.", "False"),
    ("Yes? Yes? No.", "No"),
    ("This is not valid", "invalid"),
    ("The answer is the grey hat.", "the grey hat"),
    ("The answer is Grey hat", "the grey hat"),
    ("Step 1.\nStep 2.\nJonas", "Jonas"),
    ('The answer is "Jonas", as he is faster.', "Jonas"),
    ("The answer is a truth-teller.", "truth-teller"),
    ("The answer is liar.", "liar"),
    ("The answer is unknown.", "unknown"),
]
WRONG = [
    ("", "(A)"),
    ("The answer is (A).", "(B)"),
    ("The answer is probably the first one.", "(B)"),
    ("An apple", "(A)"),
    ("False", "True"),
    ("Truely untrue", "True"),
    ("No", "Yes"),
    ("Nobody knows", "No"),
    ("invalid", "valid"),
    ("valid", "invalid"),
    ("Jonas is slower.\nSo it is Omar", "Jonas"),
    ("Jonasson", "Jonas"),
    ("The answer is liar.", "truth-teller"),
    ("Uncertain", "False"),
    ("maybe", "Uncertain"),
]


@pytest.mark.parametrize(("output", "answer"), RIGHT)
def test_a_right_answer(output, answer):
    assert score_label(output, answer) == 1.0


@pytest.mark.parametrize(("output", "answer"), WRONG)
def test_a_wrong_answer(output, answer):
    assert score_label(output, answer) == 0.0


LABELS = st.sampled_from(
    ["(A)", "(G)", "True", "False", "Yes", "No", "valid", "invalid", "Uncertain", "the cat"]
)


@given(LABELS, st.sampled_from(["{}", "The answer is {}.", "####  {}", "Answer: {}"]))
def test_every_label_is_found_as_it_was_written(label, sentence):
    assert score_label(sentence.format(label), label) == 1.0
    assert score_label(sentence.format(label), "(B)" if label != "(B)" else "(C)") == 0.0


@given(st.text(max_size=60), LABELS)
def test_any_text_is_read(text, label):
    found = extract_label(text, label)
    assert found is None or found == found.casefold()
