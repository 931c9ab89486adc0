"""Numbers: what a text gives as its answer, by the rules in the order in which they are stated."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftproof.scoring import extract_number, parse_number, score_number

TEXTS = [
    # 1: after the last ####
    ("5 + 3 = 8\n#### 8", "8"),
    ("#### 1\nNo.\n#### 2 apples, not 3", "2"),
    ("#### $1,450,000", "1450000"),
    ("#### -12", "-12"),
    ("#### no number\nThe answer is 4.", "4"),
    # 2: in the last box
    (r"Thus \boxed{42}. I checked 3 times.", "42"),
    (r"\boxed{1} then \boxed{\$1{,}234.50}", "1234.50"),
    (r"\boxed{x = \text{about } 7}", "7"),
    (r"\boxed{-3}", "-3"),
    (r"\boxed{unclosed 9, so 10", "10"),
    (r"\boxed{\text{none}}, so 6", "6"),
    (r"$$\boxed{12\,000}$$", "12000"),
    # 3: after the last "answer is" or "answer:"
    ("The answer is 18.", "18"),
    ("The answer is 18. She had 16 eggs at first.", "18"),
    ("The answer is 5 + 3 = 8 eggs, out of 16.", "8"),
    ("The final answer is: **1,234.5**. That took 2 steps.", "1234.5"),
    ("Answer: $70,000 in 3 years", "70000"),
    ("**Answer:** 6\nbecause 2 * 3", "6"),
    ("Answer:\n\n25\n", "25"),
    ("The answer is 1. Wait, the answer is 2! Not 3.", "2"),
    ("The answer is unclear. It may be 11.", "11"),
    ("the answer to the question is 9, I think of 10", "9"),
    # 4: the last number
    ("16 - 3 - 4 = 9, and 9 * 2 = 18", "18"),
    ("She makes $18 every day.", "18"),
    ("It costs $5.00.", "5.00"),
    ("Total: 1,000,000 people", "1000000"),
    ("we get 20-18", "18"),
    ("the balance is -20", "-20"),
    ("the balance is −$20", "-20"),
    ("the balance is $-20", "-20"),
    ("f(3)-2", "2"),
    ("- 5 apples", "5"),
    (".5 of it", "0.5"),
    ("a ratio of 10%", "10"),
    ("in 1,2345 parts", "2345"),
    ("version x2 has 7", "7"),
    ("5kg", "5"),
]


@pytest.mark.parametrize(("text", "number"), TEXTS)
def test_the_number_of_a_text(text, number):
    assert extract_number(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "none", "x2", "eighteen", "####", "٣", "\\boxed{}"])
def test_a_text_without_a_number(text):
    assert extract_number(text) is None
    assert score_number(text, "0") == 0.0


@pytest.mark.parametrize(
    ("output", "answer", "score"),
    [
        ("18.00", "18", 1.0),
        ("$1,000", "1000", 1.0),
        ("-3", "3", 0.0),
        ("18.5", "18", 0.0),
        ("180", "18", 0.0),
    ],
)
def test_equal_is_equal_in_value(output, answer, score):
    assert score_number(output, answer) == score


def test_a_reference_that_is_no_number_is_an_error():
    with pytest.raises(ValueError, match="'many' is not a number"):
        score_number("3", "many")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", "3"),
        (" -1,450.50 ", "-1450.50"),
        ("$7", "7"),
        ("3 apples", None),
        ("", None),
        ("1,23", None),
        ("1 000", None),
        ("x", None),
        ("(3)", None),
    ],
)
def test_a_text_that_is_a_number(text, number):
    assert parse_number(text) == (None if number is None else Decimal(number))


@given(
    st.decimals(min_value=-(10**9), max_value=10**9, places=2),
    st.sampled_from(["{}", "The answer is {}.", "#### {}", r"so \boxed{{{}}}!", "17 of {}"]),
    st.sampled_from(["{}", "{:,}"]),
)
def test_a_number_is_found_as_it_was_written(number, sentence, form):
    assert extract_number(sentence.format(form.format(number))) == number


@given(st.text(alphabet="0123456789-−$,.#=\\{}boxed answer is:\n", max_size=60))
def test_any_text_is_read(text):
    found = extract_number(text)
    assert found is None or found == found
