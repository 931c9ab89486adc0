"""Recordings on disk: journaled, gone on with, and refused where they are not what is asked for."""

import json
from dataclasses import replace

import numpy as np
import pytest
from recordings import info_of, recorded, seeded_table

from draftproof.errors import DataError, TraceError, UsageError
from draftproof.replay.recorded import Recording
from draftproof.replay.storage import (
    COLUMNS_FILE,
    INFO_FILE,
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
    settings = {**INFO.settings, "sampling": {**INFO.settings["sampling"], "top_k": 9}}
    for info, names, what in (
        (replace(INFO, k=4), NAMES, f"k: {INFO.k} → 4"),
        (replace(INFO, settings=settings), NAMES, "setting sampling.top_k: .* → 9"),
        (INFO, ("a", "b"), "its prompts are others"),
    ):
        with pytest.raises(TraceError, match=rf"another recording \({what}\); give another --out"):
            RecordingFolder(tmp_path, info, names)


def test_how_many_are_decoded_at_once_is_no_other_recording(tmp_path):
    RecordingFolder(tmp_path, INFO, NAMES).append(case("a"))
    info = replace(INFO, settings={**INFO.settings, "batch": 8, "data_dir": "elsewhere"})
    assert list(RecordingFolder(tmp_path, info, NAMES).finished) == ["a"]


def test_what_is_not_a_recording(tmp_path):
    with pytest.raises(TraceError, match="there is no recording at"):
        load_recording(tmp_path)
    folder = RecordingFolder(tmp_path, INFO, ("a",))
    folder.append(case("a"))
    folder.close()
    (tmp_path / COLUMNS_FILE).write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(TraceError, match=r"recording.npz is corrupt .* remove it and run"):
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
    with pytest.raises(TraceError, match="column entropy of target has 13 values, and not 14"):
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


def whole(folder):
    made = RecordingFolder(folder, INFO, NAMES)
    for name in NAMES:
        made.append(case(name))
    made.close()


def described(folder, change):
    """Write a recording's description as a hand would."""
    path = folder / INFO_FILE
    header = json.loads(path.read_text("utf-8"))
    del header["crc32"]
    change(header)
    path.write_text(json.dumps(header), "utf-8")


def columns(folder, change):
    """Write a recording's columns as another program would."""
    stored = dict(np.load(folder / COLUMNS_FILE))
    change(stored)
    np.savez_compressed(folder / COLUMNS_FILE, **stored)


def test_a_description_that_was_changed_is_refused(tmp_path):
    whole(tmp_path)
    text = (tmp_path / INFO_FILE).read_text("utf-8")
    (tmp_path / INFO_FILE).write_text(text.replace('"overrun": 8', '"overrun": 9'), "utf-8")
    with pytest.raises(TraceError, match="not what was written: its checksum differs"):
        load_recording(tmp_path)
    described(tmp_path, lambda header: header["info"].update(overrun=8))
    assert load_recording(tmp_path).complete  # of an earlier version, which wrote no checksum


DESCRIPTIONS = {
    "no schema": lambda header: header.pop("schema_version"),
    "schema as text": lambda header: header.update(schema_version="1"),
    "no info": lambda header: header.pop("info"),
    "info as list": lambda header: header.update(info=[]),
    "no count": lambda header: header.pop("cases"),
    "count as text": lambda header: header.update(cases="3"),
    "fewer than there are": lambda header: header.update(cases=2),
    "more than there are": lambda header: header.update(cases=4),
    "unknown key": lambda header: header["info"].update(foo=1),
    "no k": lambda header: header["info"].pop("k"),
    "k as text": lambda header: header["info"].update(k="5"),
    "another k": lambda header: header["info"].update(k=4),
    "another rollout": lambda header: header["info"].update(rollout=2),
    "no target's context": lambda header: header["info"]["max_lengths"].pop("target"),
    "no draft's context": lambda header: header["info"]["max_lengths"].pop("small"),
    "another draft model": lambda header: header["info"]["max_lengths"].update(other=5),
    "a context of text": lambda header: header["info"]["max_lengths"].update(small="5"),
    "no settings": lambda header: header["info"].update(settings={}),
    "no target": lambda header: header["info"]["settings"].pop("target"),
    "a temperature of text": lambda header: header["info"]["settings"]["sampling"].update(
        temperature="hot"
    ),
    "an infinite temperature": lambda header: header["info"]["settings"]["sampling"].update(
        temperature=float("inf")
    ),
    "models as list": lambda header: header["info"].update(models=[]),
    "a model as list": lambda header: header["info"].update(models={"target": []}),
    "contexts as list": lambda header: header["info"].update(max_lengths=["target"]),
    "no sources": lambda header: header["info"].update(sources=None),
    "a smaller vocabulary": lambda header: header["info"].update(vocabulary_size=2),
}


@pytest.mark.parametrize("change", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_a_description_of_something_else_is_refused(tmp_path, change):
    whole(tmp_path)
    described(tmp_path, change)
    with pytest.raises(TraceError, match=r"restore the file, or"):
        load_recording(tmp_path)


def of_type(name, dtype, added=0.0):
    return lambda stored: stored.update({name: stored[name].astype(dtype) + dtype(added)})


def shorter(name):
    return lambda stored: stored.update({name: stored[name][:-1]})


def filled(name, value):
    return lambda stored: stored[name].__setitem__(..., value)


COLUMNS = {
    "no ranks": lambda stored: stored.pop("draft0/rank"),
    "negative ranks": filled("draft0/rank", -1),
    "ranks between": of_type("draft0/rank", np.float32, 0.5),
    "nothing committed": filled("committed", 0),
    "more committed than there is": filled("committed", 9999),
    "a negative length": filled("tokens", -3),
    "lengths that do not add up": lambda stored: stored["tokens"].__setitem__(0, 2),
    "a column short": shorter("draft0/rank"),
    "a domain less": shorter("domains"),
    "a prompt less": lambda stored: [shorter(name)(stored) for name in PER_PROMPT],
    "other draft models": lambda stored: stored.update(drafts=np.array(["x", "y"])),
    "draft models in another order": lambda stored: stored.update(
        drafts=np.array(["large", "small"])
    ),
    "one token a position": lambda stored: stored.update(
        {"draft0/top_token_id": stored["draft0/top_token_id"][:, 0]}
    ),
    "shorter rollouts": lambda stored: stored.update(
        {"draft1/chain_entropy": stored["draft1/chain_entropy"][:, :2]}
    ),
    "an id twice": lambda stored: stored["case_ids"].__setitem__(1, stored["case_ids"][0]),
    "an unknown token": filled("token_ids", 99),
    "no number": filled("target/log_probability", np.nan),
    "a draft's no number": filled("draft1/top_log_probability", np.nan),
    "a probability above 1": filled("draft0/log_probability", 0.5),
}
PER_PROMPT = ("case_ids", "domains", "stop_reasons", "committed", "tokens", "prompt_tokens")


@pytest.mark.parametrize("change", COLUMNS.values(), ids=COLUMNS)
def test_columns_that_do_not_fit_together_are_refused(tmp_path, change):
    whole(tmp_path)
    columns(tmp_path, change)
    with pytest.raises(TraceError, match=r"recording\.npz.*; restore the file, or remove it"):
        load_recording(tmp_path)


def test_damaged_columns_are_refused_or_as_they_were(tmp_path):
    """Every part of the archive that is read is under a checksum of its own."""
    whole(tmp_path)
    path = tmp_path / COLUMNS_FILE
    written, before = path.read_bytes(), load_recording(tmp_path)
    refused = 0
    for at in range(0, len(written), 97):
        damaged = bytearray(written)
        damaged[at] ^= 0x10
        path.write_bytes(bytes(damaged))
        try:
            after = load_recording(tmp_path)
        except TraceError:
            refused += 1
            continue
        for first, second in zip(before.cases, after.cases, strict=True):
            assert_same(first, second)
    assert refused > 50
    # Compressed in a way that nobody knows: the method in the first entry of the directory.
    unknown = bytearray(written)
    unknown[written.index(b"PK\x01\x02") + 10] = 99
    for damaged in (bytes(unknown), b"", written[: len(written) // 2], b"some text"):
        path.write_bytes(damaged)
        with pytest.raises(TraceError, match="is corrupt"):
            load_recording(tmp_path)


def test_a_turned_bit_in_the_journal_is_refused(tmp_path):
    RecordingFolder(tmp_path, INFO, NAMES).append(case("a"))
    journal = tmp_path / JOURNAL_FILE
    written = journal.read_bytes()
    for at in range(0, len(written) - 1, 61):
        damaged = bytearray(written)
        damaged[at] ^= 0x01
        journal.write_bytes(bytes(damaged))
        with pytest.raises(TraceError, match="line 1 is corrupt"):
            load_recording(tmp_path)


def test_what_was_removed_is_recorded_again(tmp_path):
    whole(tmp_path)
    (tmp_path / COLUMNS_FILE).unlink()
    assert not load_recording(tmp_path).complete
    again = RecordingFolder(tmp_path, INFO, NAMES)
    assert not again.finished
    for name in NAMES:
        again.append(case(name))
    assert again.close().complete


def test_a_line_that_a_kill_cut_is_taken_out_before_the_next(tmp_path):
    RecordingFolder(tmp_path, INFO, NAMES).append(case("a"))
    with (tmp_path / JOURNAL_FILE).open("ab") as journal:
        journal.write(b'{"case_id": "b", "dom')
    RecordingFolder(tmp_path, INFO, NAMES).append(case("b"))
    assert [each.case_id for each in load_recording(tmp_path).cases] == ["a", "b"]


def test_other_prompts_are_another_recording(tmp_path):
    RecordingFolder(tmp_path, INFO, NAMES)
    with pytest.raises(TraceError, match="its prompts are others"):
        RecordingFolder(tmp_path, INFO, ("a", "b", "d"))


def test_a_recording_without_a_prompt_says_how_to_go_on(tmp_path):
    RecordingFolder(tmp_path, INFO, NAMES)
    with pytest.raises(UsageError, match="no prompt yet; run the same `draftproof record` again"):
        load_recording(tmp_path).require_cases()
