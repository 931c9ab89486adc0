"""Prompts as other tools keep them: file formats, conversations, token ids, ids of any text."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from draftproof.config import RunConfig
from draftproof.data.encoding import prompt_ids
from draftproof.data.fingerprint import prompt_digest
from draftproof.data.own import own_records
from draftproof.data.prompt import Prompt
from draftproof.data.reading import read_local
from draftproof.errors import DataError, UsageError
from draftproof.models.loading import load_pair
from draftproof.plugin.collection import own_prompts

ROWS = [{"prompt": "One, two?", "id": "a"}, {"prompt": 'With "quotes",\nand a line', "id": "b"}]


@pytest.fixture(scope="module")
def pair():
    return load_pair(RunConfig(), lambda line: None)


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def comma_separated():
    return b'prompt,id\r\n"One, two?",a\r\n"With ""quotes"",\nand a line",b\r\n'


def one(tmp_path, row):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines([row]))
    [record] = own_records(path, {})
    return record.prompt


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", lines(ROWS)),
        ("rows.jsonl.gz", gzip.compress(lines(ROWS), mtime=0)),
        ("rows.json", json.dumps(ROWS).encode()),
        ("rows.csv", comma_separated()),
        ("rows.csv.gz", gzip.compress(comma_separated(), mtime=0)),
    ],
    ids=["jsonl", "jsonl.gz", "json", "csv", "csv.gz"],
)
def test_a_file_is_read_by_what_it_is(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    prompts = [record.prompt for record in own_records(path, {})]
    assert [prompt.text for prompt in prompts] == [row["prompt"] for row in ROWS]
    assert [prompt.prompt_id for prompt in prompts] == ["own/own/a", "own/own/b"]


def test_parquet_and_folders_of_save_to_disk(tmp_path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_list(ROWS)
    data.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": data}).save_to_disk(tmp_path / "splits")
    for place in ("rows.parquet", "saved", "splits/train"):
        found = [record.prompt.text for record in own_records(tmp_path / place, {})]
        assert found == [row["prompt"] for row in ROWS]
    with pytest.raises(DataError, match=r"give one split, such as .*splits/train"):
        own_records(tmp_path / "splits", {})


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("rows.bin", b"\xff\xfe\x00", "is not text.*JSON Lines.*CSV.*Parquet"),
        ("rows.jsonl.gz", b"nothing", "cannot be read"),
        ("rows.json", b"[1, 2]", "row 1: expected an object"),
        ("rows.json", b"[{", "not valid JSON"),
        ("rows.parquet", b"PAR1", "cannot be read"),
        ("rows.jsonl", lines([{"question": "?"}]), "no column 'prompt'.*ShareGPT"),
    ],
)
def test_what_cannot_be_read_says_what_can(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        own_records(path, {})


MESSAGES = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "And now?"},
]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [*MESSAGES, {"role": "assistant", "content": "left out"}]},
        {"custom_id": "x", "url": "/v1/chat/completions", "body": {"messages": MESSAGES}},
        {
            "conversations": [
                {"from": "human", "value": "Hi"},
                {"from": "gpt", "value": "Hello"},
                {"from": "human", "value": "And now?"},
                {"from": "gpt", "value": "left out"},
            ]
        },
    ],
    ids=["openai", "batch", "sharegpt"],
)
def test_a_recorded_conversation_is_asked_up_to_its_last_question(tmp_path, row, pair):
    prompt = one(tmp_path, row)
    assert json.loads(prompt.messages) == MESSAGES
    assert prompt.text == "And now?"
    shaped = pair.tokenizer.apply_chat_template(
        MESSAGES, tokenize=False, add_generation_prompt=True
    )
    expected = pair.tokenizer(shaped, add_special_tokens=False)["input_ids"]
    assert list(prompt_ids(pair, prompt)) == expected
    assert prompt_ids(pair, prompt) != pair.encode(prompt.text)


def test_the_result_of_a_tool_is_answered(tmp_path):
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Ask f."},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    ]
    prompt = one(tmp_path, {"messages": messages})
    assert prompt.text == "42"
    assert json.loads(prompt.messages)[1]["tool_calls"] == [call]


@pytest.mark.parametrize("key", ["prompt", "prompt_token_ids", "token_ids"])
def test_token_ids_are_the_prompt(tmp_path, pair, key):
    prompt = one(tmp_path, {key: [40, 41, 42]})
    assert prompt_ids(pair, prompt) == (40, 41, 42)
    assert prompt.text == "3 token ids: 40 41 42"


def test_ids_that_the_target_does_not_know_are_named(pair):
    size = pair.vocabulary_size
    for token in (size, 2**31 - 1, -1):
        prompt = Prompt(prompt_id="own/own/7", domain="own", text="", token_ids=(1, token))
        with pytest.raises(
            DataError, match=f"own/own/7 has the token id {token} at position 1; .* has {size:,} "
        ):
            prompt_ids(pair, prompt)
    last = Prompt(prompt_id="a", domain="own", text="", token_ids=(0, size - 1))
    assert prompt_ids(pair, last) == (0, size - 1)


@pytest.mark.parametrize("key", ["prompt", "prompt_token_ids", "token_ids"])
@pytest.mark.parametrize("token", [-1, 2**31, 99999999999999999999, True])
def test_ids_that_no_target_has_are_refused_with_their_line(tmp_path, key, token):
    with pytest.raises(DataError, match=rf"line 1: 'token_ids' has {token} at position 1"):
        one(tmp_path, {key: [1, token]})


@pytest.mark.parametrize("value", [[], "1 2", 3, [1, "2"], [1, None]])
def test_token_ids_are_a_list_of_whole_numbers(tmp_path, value):
    with pytest.raises(DataError, match="line 1: 'token_ids' (is not a list|has .* no whole)"):
        one(tmp_path, {"token_ids": value})


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "\ud800 a"},
        {"turns": ["a", "\ud800"]},
        {"messages": [{"role": "system", "content": "\ud800"}, {"role": "user", "content": "a"}]},
        {"prompt": "a", "answer": "\ud800"},
    ],
    ids=["prompt", "turns", "messages", "answer"],
)
def test_half_a_surrogate_pair_is_refused_with_its_line(tmp_path, row):
    with pytest.raises(DataError, match=r"line 1: the text has U\+D800 at character"):
        one(tmp_path, row)
    whole = "\U0001f600"
    assert whole in one(tmp_path, {"prompt": json.loads(f'"{whole}"')}).text


@pytest.mark.parametrize("name", ["overall", " overall", "overall ", "Overall", "OVERALL"])
def test_no_domain_reads_as_all_of_them(tmp_path, name):
    with pytest.raises(DataError, match="line 1: a domain cannot be called 'overall'"):
        one(tmp_path, {"prompt": "a", "domain": name})
    with pytest.raises(UsageError, match="a domain cannot be called 'overall'"):
        own_prompts(name, ["a"])


def test_white_space_around_a_domain_is_none_of_it(tmp_path):
    assert one(tmp_path, {"prompt": "a", "domain": " sql "}).domain == "sql"
    [prompt] = own_prompts("sql ", ["a"])
    assert (prompt.domain, prompt.prompt_id) == ("sql", "sql/0")
    given = Prompt(prompt_id="x", domain=" sql", text="a")
    assert own_prompts("sql", [given])[0].domain == "sql"


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        ({"text": "Hi"}, ("Hi",)),
        ({"session_id": "s", "turns": [{"text": "Hi"}, {"text": "Go on"}]}, ("Hi", "Go on")),
        ({"texts": ["Hi"]}, ("Hi",)),
    ],
    ids=["text", "session", "texts"],
)
def test_lines_of_benchmarks_of_servers(tmp_path, row, texts):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines([row]))
    [record] = own_records(path, {})
    assert record.turns == texts


def test_an_id_is_any_text_on_one_line(tmp_path):
    name = "conversation #7 (α/β): [x|y] 'z' & <b>"
    assert one(tmp_path, {"prompt": "Hi", "id": name}).prompt_id == f"own/own/{name}"
    for wrong, says in (("a\nb", "on one line"), ("", "on one line"), ("x" * 201, "201 char")):
        with pytest.raises(DataError, match=says):
            one(tmp_path, {"prompt": "Hi", "id": wrong})


def test_an_answer_may_be_the_only_one_of_a_list(tmp_path):
    assert one(tmp_path, {"prompt": "Hi", "answer": ["42"]}).answer == "42"
    with pytest.raises(DataError, match="a list of 2"):
        one(tmp_path, {"prompt": "Hi", "answer": ["42", "43"]})


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"conversations": [{"from": "narrator", "value": "x"}]}, "'narrator' speaks"),
        ({"messages": [{"role": "system", "content": "x"}]}, "nothing to answer"),
        ({"messages": "x"}, "expected a list of messages"),
        ({"messages": [{"content": "x"}]}, "has no 'role'"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "not text, such as an image",
        ),
    ],
)
def test_a_conversation_that_is_none_names_its_line(tmp_path, row, says):
    with pytest.raises(DataError, match=f"line 1: .*{says}"):
        one(tmp_path, row)


def test_what_is_asked_is_part_of_a_prompts_digest():
    plain = Prompt(prompt_id="a", domain="own", text="x")
    digests = {
        prompt_digest(prompt)
        for prompt in (
            plain,
            Prompt(prompt_id="a", domain="own", text="x", messages="[]"),
            Prompt(prompt_id="a", domain="own", text="x", token_ids=(1,)),
        )
    }
    assert len(digests) == 3


@pytest.mark.parametrize("ending", ["parquet", "jsonl.gz", "json.gz", "csv.gz"])
def test_a_small_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, ending):
    """In Parquet, one text may stand for any number of rows, and no size that it states says so."""
    monkeypatch.setattr("draftproof.data.unpacking.LARGEST_BYTES", 4 << 20)
    path = tmp_path / f"rows.{ending}"
    if ending == "parquet":
        text = pyarrow.array(["x" * 100_000]).take(pyarrow.array([0] * 2000))
        pyarrow.parquet.write_table(pyarrow.table({"prompt": text}), path, compression="zstd")
    else:
        path.write_bytes(gzip.compress(bytes(8 << 20)))
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match=r"rows\..* unpacks to more than 4,194,304 bytes"):
        own_records(path, {})
    with pytest.raises(DataError, match=r"unpacks to more than 4,194,304 bytes"):
        read_local(path, split="test")


def test_very_many_empty_rows_of_parquet_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("draftproof.data.unpacking.LARGEST_BYTES", 4 << 20)
    path = tmp_path / "rows.parquet"
    table = pyarrow.table({"prompt": pyarrow.nulls(1_000_000, pyarrow.string())})
    pyarrow.parquet.write_table(table, path)
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match="unpacks to more than"):
        own_records(path, {})


def saved_folder(folder, table, **options):
    """A folder as `save_to_disk` writes it, of a table that it would not write."""
    folder.mkdir()
    with pyarrow.ipc.new_stream(
        folder / "data.arrow", table.schema, options=pyarrow.ipc.IpcWriteOptions(**options)
    ) as writer:
        writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    return folder


LONG = "x" * 100_000


@pytest.mark.parametrize(
    ("column", "options", "message"),
    [
        (lambda: pyarrow.array([LONG] * 100), {"compression": "zstd"}, "is compressed"),
        (
            lambda: pyarrow.array([LONG] * 2000).dictionary_encode(),
            {},
            "has a column of the type dictionary",
        ),
        (
            lambda: pyarrow.array([[LONG]] * 2, pyarrow.list_(pyarrow.string_view())),
            {},
            "has a column of the type string_view",
        ),
        (
            lambda: pyarrow.nulls(1_000_000, pyarrow.null()),
            {},
            "unpacks to more than 4,194,304 bytes",
        ),
        (lambda: pyarrow.array([LONG] * 50), {}, "unpacks to more than 4,194,304 bytes"),
    ],
)
def test_a_folder_of_save_to_disk_is_bounded(tmp_path, monkeypatch, column, options, message):
    monkeypatch.setattr("draftproof.data.unpacking.LARGEST_BYTES", 4 << 20)
    folder = saved_folder(tmp_path / "saved", pyarrow.table({"prompt": column()}), **options)
    with pytest.raises(DataError, match=message):
        own_records(folder, {})


@pytest.mark.parametrize("name", ["../else.arrow", "/else.arrow", "sub/else.arrow"])
def test_a_folder_of_save_to_disk_leads_nowhere_else(tmp_path, name):
    folder = saved_folder(tmp_path / "saved", pyarrow.table({"prompt": ["a"]}))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(DataError, match="which is not in this folder"):
        own_records(folder, {})


def test_damaged_arrow_data_is_named(tmp_path):
    folder = saved_folder(tmp_path / "saved", pyarrow.table({"prompt": ["a b c", "d"]}))
    data = (folder / "data.arrow").read_bytes()
    refused = 0
    for place in range(0, len(data), 7):
        (folder / "data.arrow").write_bytes(data[:place] + b"\xff" + data[place + 1 :])
        try:
            own_records(folder, {})
        except DataError:
            refused += 1
    assert refused > 10
