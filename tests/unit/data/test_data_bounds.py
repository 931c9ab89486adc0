"""Files of prompts that are small and unpack to much: what is refused, and what is not decoded."""

import contextlib
import gzip
import json
import random

import pyarrow
import pyarrow.parquet
import pytest

from draftproof.data import json_lines, parquet_sizes
from draftproof.data.own import own_records
from draftproof.data.reading import read_local
from draftproof.errors import DataError

LIMIT = 8 << 20
LONG = "x" * 1_000_000


@pytest.fixture
def limit(monkeypatch):
    monkeypatch.setattr("draftproof.data.unpacking.LARGEST_BYTES", LIMIT)


POOLS = []
"""Kept, as what Arrow took of one may live longer than a test."""


@contextlib.contextmanager
def most_memory(bytes_most):
    """Verifies what Arrow holds at once at most."""
    before = pyarrow.default_memory_pool()
    pool = pyarrow.proxy_memory_pool(before)
    POOLS.append(pool)
    pyarrow.set_memory_pool(pool)
    try:
        yield
    finally:
        pyarrow.set_memory_pool(before)
    assert pool.max_memory() < bytes_most


def repeated(text, count):
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * count, pyarrow.int32()), [text])


def one_row(values):
    return pyarrow.ListArray.from_arrays(pyarrow.array([0, len(values)], pyarrow.int32()), values)


def written(path, columns, **options):
    options = {"compression": "zstd", "store_schema": False, **options}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
    assert path.stat().st_size < 200_000
    return path


def test_columns_that_nobody_asks_for_are_not_decoded(tmp_path, limit):
    values = one_row(repeated("x" * 1000, 100_000))
    path = written(tmp_path / "rows.parquet", {"prompt": ["Hi"], "extra": values})
    with most_memory(LIMIT):
        assert [record.prompt.text for record in own_records(path, {})] == ["Hi"]
        with pytest.raises(DataError, match="no column 'q'; its columns are extra, prompt"):
            own_records(path, {"prompt": "q"})


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize(
    "columns",
    [
        {"prompt": repeated(LONG, 60)},
        {"turns": one_row(repeated("x" * 1000, 100_000))},
        {"turns": one_row(repeated("", 1_000_000))},
        {"prompt": pyarrow.nulls(1_000_000, pyarrow.string())},
        {"prompt": pyarrow.array(range(60)).cast(pyarrow.string()), "turns": [[LONG]] * 60},
    ],
    ids=["rows", "a list of one row", "empty texts", "nulls", "a list in each row"],
)
def test_a_text_that_is_said_very_often_is_refused_before_it_is_decoded(
    tmp_path, limit, columns, version
):
    path = written(tmp_path / "rows.parquet", columns, data_page_version=version)
    for read in (lambda: own_records(path, {}), lambda: read_local(path, split="test")):
        with most_memory(LIMIT), pytest.raises(DataError, match="unpacks to more than 8,388,608"):
            read()


def test_texts_that_repeat_the_one_before_are_bounded(tmp_path, limit):
    options = {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}
    path = written(tmp_path / "rows.parquet", {"prompt": [LONG] * 60}, **options)
    # A batch is one text here: that it is too much is known after eight of them.
    with most_memory(64 << 20), pytest.raises(DataError, match="unpacks to more than"):
        own_records(path, {})
    path = written(tmp_path / "list.parquet", {"turns": [[LONG] * 60]}, **options)
    with most_memory(LIMIT), pytest.raises(DataError, match="turns.* as DELTA_BYTE_ARRAY"):
        own_records(path, {})


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary_bytes", [1 << 20, 20_000])
def test_sizes_are_those_of_the_values(tmp_path, compression, version, dictionary_bytes):
    """Entries' numbers are counted exactly, where a column goes over to plain texts as well."""
    draw = random.Random(1)
    texts = ["a" * draw.randrange(400) for _ in range(100)] + ["b" * 1990]
    rows = [
        {
            "prompt": draw.choice([None, *texts]),
            "turns": [[draw.choice(texts)] * draw.randrange(3)] * draw.randrange(3),
        }
        for _ in range(1000)
    ]
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(rows),
        path,
        compression=compression,
        data_page_version=version,
        dictionary_pagesize_limit=dictionary_bytes,
        data_page_size=4000,
        row_group_size=700,
    )
    expected = [
        sum(len(row["prompt"] or "") for row in rows),
        sum(len(text) for row in rows for turn in row["turns"] for text in turn),
    ]
    with pyarrow.parquet.ParquetFile(path) as file:
        for column, size in enumerate(expected):
            # The limit makes what a dictionary's longest text would take too much.
            most = 3 * size + 400_000
            found = parquet_sizes.parquet_sizes(path, file.metadata, [column], most)
            assert size < found.total_bytes < most
            assert found.largest_bytes < 2000


def test_a_damaged_page_is_named(tmp_path):
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["a b c", "d"] * 50}), path)
    data = path.read_bytes()
    refused = 0
    for place in range(4, 200):
        path.write_bytes(data[:place] + b"\xff" + data[place + 1 :])
        try:
            own_records(path, {})
        except DataError as error:
            refused += str(error).startswith(str(path))
    assert refused > 20


@pytest.mark.parametrize("ending", ["json", "jsonl", "json.gz"])
def test_a_row_of_json_is_bounded_and_other_columns_are_not_kept(tmp_path, monkeypatch, ending):
    monkeypatch.setattr("draftproof.data.unpacking.LARGEST_VALUE", 100_000)
    row = json.dumps({"prompt": "Hi", "x": [{}] * 30_000})
    text = f"[{row}]" if "jsonl" not in ending else row
    path = tmp_path / f"rows.{ending}"
    path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    with pytest.raises(DataError, match=r"(row|line) 1: has more than 100,000 characters"):
        own_records(path, {})
    monkeypatch.setattr("draftproof.data.unpacking.LARGEST_VALUE", 1_000_000)
    [record] = own_records(path, {})
    assert record.prompt.text == "Hi"
    assert record.row == {}


def test_a_document_that_is_parsed_at_once_has_a_limit_of_its_own(tmp_path, monkeypatch):
    path = tmp_path / "task.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"examples": [{"input": "x"}] * 1000}).encode()))
    assert len(read_local(path, split="test", field="examples")) == 1000
    monkeypatch.setattr("draftproof.data.unpacking.LARGEST_DOCUMENT_BYTES", 10_000)
    with pytest.raises(DataError, match=r"unpacks to more than 10,000 bytes"):
        read_local(path, split="test", field="examples")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"a": 1}', "row 1: not valid JSON .*expected ',' or ']'"),
        ('[{"a": 1},]', "row 2: not valid JSON"),
        ('[{"a": 1}] x', "more follows after the array"),
        ("[{", "row 1: not valid JSON"),
        ("[" * 50_000, "row 1: not valid JSON"),
    ],
)
def test_an_array_that_is_none_is_named(tmp_path, text, says):
    with pytest.raises(DataError, match=says):
        list(json_lines.json_items(tmp_path / "rows.json", text))


def test_an_array_is_read_as_the_parser_reads_it(tmp_path):
    values = [{"a": [1, "]", {"b": "\\"}]}, "x" * 200_000, 12345, [], None]
    for text in (json.dumps(values), json.dumps(values, indent=2) + "\n", " [ ] ", "[]", "[ 1 ]"):
        found = [item for _, item in json_lines.json_items(tmp_path, text)]
        assert found == json.loads(text)
