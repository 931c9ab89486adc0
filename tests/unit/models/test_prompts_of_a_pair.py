"""The same prompt is the same token ids every day; and settings of a checkpoint that go unused."""

import datetime

import pytest
from checkpoints import save_checkpoint, tokenizer
from transformers import GenerationConfig

from draftproof.config import RunConfig, Sampling
from draftproof.errors import ModelError, TemplateError
from draftproof.models.generation_notes import generation_notes
from draftproof.models.loading import load_pair
from draftproof.models.template_time import require_repeatable, without_clock

NEWS = (
    "{% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% else %}{% set date_string = 'b' %}"
    "{% endif %}{% endif %}{{ date_string }}{{ strftime_now('%Y-%m-%d %H:%M') }}"
    "{% for m in messages %} {{ m['content'] }}{% endfor %}"
)


def test_a_template_that_asks_for_the_date_has_one(tmp_path):
    folder = save_checkpoint(tmp_path / "model", chat_template=NEWS)
    pair = load_pair(RunConfig(target=str(folder), draft=str(folder), device="cpu"))
    assert pair._shaped([{"role": "user", "content": "c d"}]) == "26 Jul 20242024-07-26 12:00 c d"
    assert str(datetime.date.today().year) != "2024"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("%d %b %Y", "26 Jul 2024"),
        ("%Y-%m-%d", "2024-07-26"),
        ("%B %-d, %Y", "July 26, 2024"),
        ("%A, %-m/%-d/%y %H:%M:%S", "Friday, 7/26/24 12:00:00"),
        ("100%% on %F", "100% on 2024-07-26"),
        ("%%d is %d", "%d is 26"),
        ("%R, %l %P, %-e %h %C, %f", "12:00, 12 pm, 26 Jul 20, 000000"),
        ("%s", "1721995200"),
    ],
)
def test_the_date_is_one_in_any_format(asked, told):
    template = without_clock(
        "\n  {% for m in messages %}{{ strftime_now('FORMAT') }}{% endfor %}\n "
    )
    made = tokenizer(chat_template=template.replace("FORMAT", asked))
    shaped = made.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    # What else the template says, spaces too, stays as it was.
    assert shaped == f"\n{told} "


def test_a_template_that_asks_for_no_date_stays_as_it_is():
    assert without_clock("\n{{ messages }}") == "\n{{ messages }}"


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{{ ['a', 'b'] | random }}", "random"),
        ("{{ [['a', 'b']]|map('random')|first }}", "random"),
        ("{% filter random %}ab{% endfilter %}", "random"),
        ("{% generation %}{{ lipsum(n=1) }}{% endgeneration %}", "lipsum"),
    ],
)
def test_a_template_that_draws_at_random_is_refused(tmp_path, template, name):
    folder = save_checkpoint(tmp_path / "model", chat_template=template)
    pair = load_pair(RunConfig(target=str(folder), draft=str(folder), device="cpu"))
    with pytest.raises(ModelError, match=f"draws at random .Jinja's '{name}'.*chat_template.jinja"):
        pair.encode("c d")


def test_a_template_that_is_other_text_each_time_is_refused_however_it_does_that(tmp_path):
    hidden = "{% set f = 'ran' ~ 'dom' %}{{ [range(90000)|list]|map(f)|first }}"
    folder = save_checkpoint(tmp_path / "model", chat_template=hidden)
    pair = load_pair(RunConfig(target=str(folder), draft=str(folder), device="cpu"))
    with pytest.raises(TemplateError, match="makes other text of the same messages each time"):
        pair.encode("c d")


@pytest.mark.parametrize(
    "template",
    ["random {# x|random #}lipsum", "{{ {'random': 'x'}.random }}{{ 'a random|random word' }}"],
)
def test_a_template_that_only_speaks_of_chance_is_not(template):
    require_repeatable(template)


def notes(sampling=None, **settings):
    return generation_notes(GenerationConfig(**settings), sampling or Sampling())


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"suppress_tokens": [5, 6]}, "suppress_tokens [5, 6] (this run: none)"),
        ({"begin_suppress_tokens": [5]}, "begin_suppress_tokens [5] (this run: none)"),
        ({"forced_bos_token_id": 3}, "forced_bos_token_id 3 (this run: none)"),
        ({"forced_bos_token_id": 0}, "forced_bos_token_id 0 (this run: none)"),
        ({"forced_eos_token_id": 3}, "forced_eos_token_id 3 (this run: none)"),
        ({"no_repeat_ngram_size": 3}, "no_repeat_ngram_size 3 (this run: none)"),
        ({"bad_words_ids": [[4]]}, "bad_words_ids [[4]] (this run: none)"),
        ({"sequence_bias": [[[4], 2.0]]}, "sequence_bias [[[4], 2.0]] (this run: none)"),
        ({"min_new_tokens": 4}, "min_new_tokens 4 (this run: 0)"),
        ({"min_length": 4}, "min_length 4 (this run: none)"),
        ({"num_beams": 4}, "num_beams 4 (this run: none)"),
        ({"guidance_scale": 2.0}, "guidance_scale 2.0 (this run: none)"),
        ({"repetition_penalty": 1.1}, "repetition_penalty 1.1 (this run: 1.0)"),
        ({"stop_strings": ["x"]}, "stop_strings ['x'] (this run: none)"),
        (
            {"do_sample": True, "temperature": 0.6},
            "do_sample (this run: temperature 0), temperature 0.6 (this run: 0.0)",
        ),
        (
            {"do_sample": True, "top_k": 50},
            "do_sample (this run: temperature 0), top_k 50 (this run: 0)",
        ),
        # Other tools read these two, and files have them.
        ({"presence_penalty": 1.5}, "presence_penalty 1.5 (this run: none)"),
        ({"frequency_penalty": 0.5}, "frequency_penalty 0.5 (this run: none)"),
        ({"penalty_of_tomorrow": 3}, "penalty_of_tomorrow 3 (this run: none)"),
    ],
)
def test_settings_that_change_an_output_and_are_not_used_are_named(settings, line):
    [note] = notes(**settings)
    assert note.startswith(f"its generation settings are not used: {line}; options of the run")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"eos_token_id": [1, 2], "pad_token_id": 0, "max_new_tokens": 5, "use_cache": True},
        {"repetition_penalty": 1.0, "num_beams": 1, "min_length": 0},
        {"presence_penalty": 0.0, "frequency_penalty": 0.0, "penalty_alpha": 0.0},
        {"use_mtp": True, "speculation_type": "x", "max_cache_len": 512},
        # Without do_sample, `generate` does not read it either.
        {"temperature": 0.6, "top_p": 0.9},
    ],
)
def test_settings_without_effect_are_not(settings):
    assert notes(**settings) == ()


def test_settings_that_the_run_has_too_are_not():
    sampling = Sampling(temperature=0.6, top_p=0.9, repetition_penalty=1.1)
    own = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "repetition_penalty": 1.1}
    assert notes(sampling, **own) == ()


def test_the_report_says_so(tmp_path):
    folder = save_checkpoint(tmp_path / "model")
    GenerationConfig(eos_token_id=1, suppress_tokens=[4]).save_pretrained(folder)
    lines = []
    pair = load_pair(RunConfig(target=str(folder), draft=str(folder), device="cpu"), lines.append)
    [note] = pair.descriptions["target"]["notes"]
    assert "suppress_tokens [4]" in note
    assert f"target: {note}" in lines
    assert "notes" not in pair.descriptions["draft"]
