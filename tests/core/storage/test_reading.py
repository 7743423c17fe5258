"""One reader for yaml and one for json: whatever is wrong with a file is one sentence that names it."""

import os

import numpy as np
import pytest

from marsgen.core.errors import DataError, RunError
from marsgen.core.storage.files import plain
from marsgen.core.storage.reading import (
    MAX_REPEATED,
    _loaded,
    parse_json,
    parse_yaml,
    read_bytes,
    read_json,
    read_json_lines,
    read_text,
    read_yaml,
)

LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: !!int abc", "invalid literal"),
        ("a: !!timestamp 2020-99-99", "could not determine a constructor"),
        ("a: !!python/object/apply:os.system [touch canary]", "could not determine a constructor"),
        ("a: " + "9" * 5000, r"4300 digits|integer string conversion"),
        ("[" * 3000, "nested more than 32 deep"),
        ("a: &a [*a]", "an anchor that contains itself"),
        (LAUGHS, f"anchors that repeat more than {MAX_REPEATED:,} values"),
        ("a: 1\na: 2", "key 'a' twice, line 2"),
        ("a: [", "at line 1"),
        (b"a: \xff", "not UTF-8 text"),
    ],
)
def test_yaml_that_cannot_be_read(text, words):
    with pytest.raises(DataError, match=rf"^x\.yaml: not readable yaml \(.*({words})"):
        parse_yaml(text, "x.yaml")


def test_yaml_values_are_numbers_and_texts():
    assert parse_yaml("{a: 1e-4, b: 2020-99-99, c: yes, d: null, e: '1'}", "x") == {
        "a": 1e-4,
        "b": "2020-99-99",
        "c": True,
        "d": None,
        "e": "1",
    }
    assert parse_yaml("{a: 1e-4, no: 010, c: null}", "x", as_texts=True) == {"a": "1e-4", "no": "010", "c": "null"}


@pytest.mark.parametrize("as_texts", [False, True])
def test_libyaml_reads_what_python_reads(as_texts):
    text = "a: &x {b: [1e-4, 010, yes, ~, '1', 2020-01-01], c: -.inf}\nd: *x\né: >\n  \U0001f600 two\n  lines\n"
    text += "" if as_texts else "e: {<<: *x, c: 0x1F}\n"
    both = [_loaded(text, as_texts, in_c=in_c) for in_c in (True, False)]
    assert repr(both[0]) == repr(both[1])
    assert "é" in both[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("{", "Expecting property name"),
        ("[]", "a list where a mapping was expected"),
        ('{"a": NaN}', "NaN is no json number"),
        ("[" * 100_000, "nested more than 32 deep"),
        ('{"a": ' * 40 + "1" + "}" * 40, "nested more than 32 deep"),
        (b"\xff", "not UTF-8 text"),
    ],
)
def test_json_that_cannot_be_read(text, words):
    with pytest.raises(RunError, match=rf"^x\.json: not readable json \(.*{words}.*\); make it again$"):
        parse_json(text, "x.json", fault=RunError, remedy="make it again")


def test_json_of_another_type_says_which_place(tmp_path):
    (tmp_path / "x.json").write_text('{"a": [1, "b"]}')
    with pytest.raises(DataError, match=r"x\.json: not readable json \(a\.1: .*valid integer"):
        read_json(tmp_path / "x.json", dict[str, list[int]])


def test_what_was_not_yet_written_of_a_journal_is_left_out(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"index": 0}\n{"index": 1}\n{"ind')
    assert list(read_json_lines(path)) == [(13, {"index": 0}), (26, {"index": 1})]
    path.write_bytes(b'{"index": 0}\n' + bytes(4096))  # the size reached the disk, the content did not
    assert list(read_json_lines(path)) == [(13, {"index": 0})]
    path.write_bytes(b'{"index": 0}\nnonsense\n{"index": 2}\n')
    with pytest.raises(DataError, match=r"journal\.jsonl: line 2: not readable json"):
        list(read_json_lines(path))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("read", [read_bytes, read_text, read_yaml, read_json])
def test_a_pipe_is_no_file_to_read(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: a folder, a pipe or a device"):
        read(tmp_path / "pipe")
    with pytest.raises(DataError, match="gone: missing"):
        read(tmp_path / "gone")


def test_numbers_that_json_does_not_have_become_null():
    assert plain({"a": [float("inf"), -float("inf"), float("nan"), np.float32("inf"), 1.5]}) == {
        "a": [None] * 4 + [1.5]
    }
