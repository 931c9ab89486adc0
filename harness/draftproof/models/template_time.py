"""Chat templates without clock or chance: one date, always, and nothing drawn at random."""

from __future__ import annotations

from datetime import UTC, datetime

from jinja2 import Environment

from draftproof.errors import TemplateError

TEMPLATE_TIME = datetime(2024, 7, 26, 12, tzinfo=UTC)
"""When it is, for chat templates that say so: the date that Llama 3's have where there is no clock.
With the clock's own, prompts would be others every day."""

_CLOCK = "strftime_now"
_NUMBERS = "dejmyHIMSkl"
_DIRECTIVES = (*(f"-{letter}" for letter in _NUMBERS), *"aAbBcCdDeFgGhHIjklmMnpPrRStTuUVwWxXyYzZ")
_PERCENT = "\0"
"""Stands for %% meanwhile."""


def require_repeatable(template: str) -> None:
    """Refuse a chat template that draws at random: its prompts would be others every time.

    Args:
        template: Jinja, as the tokenizer has it.

    Raises:
        TemplateError: It uses the filter `random` or the function `lipsum`, all that Jinja draws
            with.
    """
    if "random" not in template and "lipsum" not in template:
        return
    # Read as tokens, since `transformers` has tags of its own that Jinja alone does not parse.
    code = [
        (kind, text)
        for _, kind, text in Environment().lex(template)
        if kind not in ("whitespace", "data", "comment")
    ]
    for before, (kind, text) in zip([("", ""), *code], code, strict=False):
        is_filter = before[1] in ("|", "filter") and (kind, text) == ("name", "random")
        is_mapped = kind == "string" and text[1:-1] == "random" and ("name", "map") in code
        if is_filter or is_mapped or ((kind, text) == ("name", "lipsum") and before[1] != "."):
            raise TemplateError(
                f"the target's chat template draws at random (Jinja's '{text.strip(_QUOTES)}'): "
                "one prompt would be other tokens each time, and outputs could not be compared; "
                "write what it should say into chat_template.jinja beside the tokenizer"
            )


_QUOTES = "'\""


def without_clock(template: str) -> str:
    """A chat template in which `strftime_now` says `TEMPLATE_TIME`.

    `transformers` gives templates the clock under this name, and lets no function of a caller's
    through; so a macro takes its place, which fills in what the date makes of each directive.

    Args:
        template: Jinja, as the tokenizer has it; returned as it is if it asks for no date.
    """
    if _CLOCK not in template:
        return template
    filled = f"format|replace('%%', {_PERCENT!r})|replace('%s', '{TEMPLATE_TIME.timestamp():.0f}')"
    filled += "|replace('%f', '000000')"
    for directive in _DIRECTIVES:
        plain = TEMPLATE_TIME.strftime(f"%{directive.removeprefix('-')}")
        # A dash asks for a number without leading zeros; not every platform knows it.
        text = plain.lstrip(" 0") or "0" if directive.startswith("-") else plain
        filled += f"|replace({'%' + directive!r}, {text!r})"
    # The line's end is cut off after a tag, as templates are read.
    filled += f"|replace({_PERCENT!r}, '%')"
    return f"{{% macro {_CLOCK}(format) %}}{{{{ {filled} }}}}{{% endmacro %}}\n{template}"
