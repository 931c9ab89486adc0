"""An engine's own settings: read, checked, and refused with what to do."""

from dataclasses import dataclass

import pytest

from draftproof.engines.settings import read_settings, setting
from draftproof.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    url: str = setting("where it is")
    retries: int = setting("how often", 3)
    share: float = setting("how much", 0.5)
    loud: bool = setting("whether", False)
    name: str | None = setting("who", None)


CHECKS = [("retries", lambda value: value >= 0, "give 0 or more")]


def read(*given):
    return read_settings(Settings, given, "mine", CHECKS)


def test_values_have_their_types():
    assert read(("url", "here")) == Settings(url="here")
    given = [("url", "u"), ("retries", "5"), ("share", ".25"), ("loud", "yes"), ("name", "n")]
    assert read(*given) == Settings(url="u", retries=5, share=0.25, loud=True, name="n")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([("url", "u"), ("retry", "5")], "unknown value 'retry'; did you mean 'retries'?"),
        ([("url", "u"), ("retries", "few")], "retries=few is not a whole number"),
        ([("url", "u"), ("share", "half")], "share=half is not a number"),
        ([("url", "u"), ("loud", "very")], "loud=very is not true or false"),
        ([("url", "u"), ("retries", "-1")], "retries=-1: give 0 or more"),
        ([("url", "u"), ("url", "v")], "url is given twice"),
        ([("retries", "1")], "--spec-engine mine needs --spec-engine-option url=… (where it is)"),
    ],
)
def test_what_is_wrong_is_refused(given, message):
    with pytest.raises(UsageError) as refused:
        read(*given)
    assert message in str(refused.value)
