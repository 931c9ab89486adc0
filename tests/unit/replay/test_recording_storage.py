"""Recordings on disk: journaled, gone on with, and refused where they are not what is asked for."""

from dataclasses import replace

import numpy as np
import pytest
from recordings import info_of, recorded, seeded_table

from draftproof.errors import DataError, TraceError, UsageError
from draftproof.replay.recorded import Recording
from draftproof.replay.storage import (
    COLUMNS_FILE,
    JOURNAL_FILE,
    RecordingFolder,
    bytes_a_token,
    load_recording,
)
from draftproof.stopping import Stopping

TARGET, DRAFT = seeded_table(0), seeded_table(1)
DRAFTS = {"small": DRAFT, "large": seeded_table(2)}
INFO = replace(info_of(TARGET, DRAFTS), rollout=3)
NAMES = ("a", "b", "c")


def case(name):
    stopping = Stopping(max_new_tokens=6)
    return recorded([1, 2], TARGET, DRAFTS, stopping, rollout=3, case_id=name)


def assert_same(first, second):
    assert (first.case_id, first.domain, first.committed) == (
        second.case_id,
        second.domain,
        second.committed,
    )
    assert first.token_ids.tolist() == second.token_ids.tolist()
    for name, column in first.target.items():
        np.testing.assert_array_equal(column, second.target[name])
    assert list(first.drafts) == list(second.drafts)
    for draft, own in first.drafts.items():
        for part in ("columns", "top", "chain"):
            for name, column in getattr(own, part).items():
                np.testing.assert_array_equal(column, getattr(second.drafts[draft], part)[name])


def test_a_whole_recording_is_read_as_it_was(tmp_path):
    folder = RecordingFolder(tmp_path / "r", INFO, NAMES)
    for name in NAMES:
        folder.append(case(name))
    made = folder.close()
    again = load_recording(tmp_path / "r")
    assert made.complete
    assert again.complete
    assert again.info == INFO
    for first, second in zip(made.cases, again.cases, strict=True):
        assert_same(first, second)
    assert not (tmp_path / "r" / JOURNAL_FILE).exists()
    tokens = sum(len(each.token_ids) for each in made.cases)
    assert bytes_a_token(tmp_path / "r", again) == pytest.approx(
        (tmp_path / "r" / COLUMNS_FILE).stat().st_size / tokens
    )


def test_a_killed_recording_goes_on_where_it_was(tmp_path):
    folder = RecordingFolder(tmp_path, INFO, NAMES)
    folder.append(case("a"))
    with (tmp_path / JOURNAL_FILE).open("ab") as journal:
        journal.write(b'{"case_id": "b", "dom')
    partial = load_recording(tmp_path)
    assert [each.case_id for each in partial.cases] == ["a"]
    assert not partial.complete
    again = RecordingFolder(tmp_path, INFO, NAMES)
    assert list(again.finished) == ["a"]
    for name in ("b", "c"):
        again.append(case(name))
    assert again.close().complete
    assert [each.case_id for each in load_recording(tmp_path).cases] == list(NAMES)


def test_another_recording_is_not_gone_on_with(tmp_path):
    RecordingFolder(tmp_path, INFO, NAMES).append(case("a"))
    for info, names in ((replace(INFO, k=4), NAMES), (INFO, ("a", "b"))):
        with pytest.raises(TraceError, match="other models, settings or prompts"):
            RecordingFolder(tmp_path, info, names)


def test_what_is_not_a_recording(tmp_path):
    with pytest.raises(TraceError, match="there is no recording at"):
        load_recording(tmp_path)
    folder = RecordingFolder(tmp_path, INFO, ("a",))
    folder.append(case("a"))
    folder.close()
    (tmp_path / COLUMNS_FILE).write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(TraceError, match=r"recording.npz is corrupt .* record it again"):
        load_recording(tmp_path)


def test_a_corrupt_line_is_named(tmp_path):
    folder = RecordingFolder(tmp_path, INFO, NAMES)
    folder.append(case("a"))
    with (tmp_path / JOURNAL_FILE).open("ab") as journal:
        journal.write(b"{}\n")
    with pytest.raises(TraceError, match="line 2 is corrupt"):
        load_recording(tmp_path)


def test_columns_must_fit_together(tmp_path):
    short = case("a")
    broken = replace(short, target={**short.target, "entropy": short.target["entropy"][:-1]})
    with pytest.raises(TraceError, match="column entropy of target has 13 values for 14 tokens"):
        RecordingFolder(tmp_path, INFO, NAMES).append(broken)


def test_what_was_not_recorded_is_refused():
    made = Recording(info=INFO, cases=(case("a"),))
    with pytest.raises(UsageError, match="unknown value 'smal'; did you mean 'small'"):
        made.require_draft("smal")
    with pytest.raises(UsageError, match="unknown value 'chat'"):
        made.of_domain("chat")
    few = Recording(info=replace(INFO, k=2), cases=made.cases)
    with pytest.raises(UsageError, match="proposes 3 siblings, .* record again with --k 3"):
        few.require_ranks(3, "the tree 1x3")


def test_settings_that_look_back_are_refused():
    from draftproof.config import Sampling

    with pytest.raises(UsageError, match="without --spec-repetition-penalty"):
        recorded(
            [1],
            TARGET,
            DRAFTS,
            Stopping(max_new_tokens=2),
            sampling=Sampling(repetition_penalty=1.2),
        )


def test_off_policy_texts(tmp_path):
    from draftproof.replay.off_policy import off_policy_label, read_texts

    path = tmp_path / "log.jsonl"
    path.write_text(
        '{"prompt": "One", "output": "Two", "domain": "chat", "id": "x"}\n'
        '{"prompt_token_ids": [1, 2], "output_token_ids": [3]}\n'
    )
    texts = read_texts(path)
    assert [(text.case_id, text.domain) for text in texts] == [("x", "chat"), ("log/1", "own")]
    assert texts[1].prompt == (1, 2)
    assert texts[1].output == (3,)
    assert off_policy_label(texts) == "off-policy: 2 texts of log.jsonl"
    assert off_policy_label(None) == ""
    path.write_text('{"prompt": "One"}\n')
    with pytest.raises(DataError, match="line 1: give 'output' as a text, or 'output_token_ids'"):
        read_texts(path)
    path.write_text(
        '{"prompt": "a", "output": "b", "id": 1}\n{"prompt": "a", "output": "b", "id": 1}'
    )
    with pytest.raises(DataError, match="the id '1' occurs twice"):
        read_texts(path)
