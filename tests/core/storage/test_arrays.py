"""The one reader of arrays: whatever is wrong with a file is one sentence that names it, and takes no memory."""

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from marsgen.core.errors import DataError, RunError
from marsgen.core.storage.arrays import MOST_UNPACKED, read_npy, read_npz

GOOD = np.arange(12, dtype=np.int32).reshape(3, 4)


def packed(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def with_header(text: bytes, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


DAMAGED = {
    "header that no tokenizer reads": (packed(GOOD).replace(b"descr", b"des'r"), "no numpy header"),
    "header open": (with_header(b"{'descr': ('<i4', \n"), "no numpy header"),
    "header nested": (with_header(b"[" * 3000), "no numpy header"),
    "header is code": (with_header(b"__import__('os').system('touch canary')\n"), "no numpy header"),
    "unknown version": (b"\x93NUMPY\x09\x00" + packed(GOOD)[8:], "no numpy header"),
    "negative shape": (
        with_header(b"{'descr': '<i4', 'fortran_order': False, 'shape': (-3, 4)}\n"),
        r"shape \(-3, 4\)",
    ),
    "objects": (packed(np.array([[{}]], object)), r"object of shape \(1, 1\); int32 of shape \(any, 4\)"),
    "another type": (packed(GOOD.astype(np.int64)), "int64 of shape"),
    "another shape": (packed(GOOD[:, :3]), r"int32 of shape \(3, 3\); int32 of shape \(any, 4\)"),
    "empty": (b"", "no numpy header"),
    "cut short": (packed(GOOD)[:-1], "175 bytes; 176 were expected"),
    "too long": (packed(GOOD) + b"x", "177 bytes; 176 were expected"),
    "huge shape": (
        with_header(b"{'descr': '<i4', 'fortran_order': False, 'shape': (4000000000000, 4)}\n"),
        "64,000,000,000,080 were expected",
    ),
}


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_npy_is_refused_by_its_header(name, mapped, tmp_path):
    content, words = DAMAGED[name]
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(RunError, match=rf"x\.npy: .*{words}.*; make it again"):
        read_npy(path, np.int32, (None, 4), RunError, "make it again", mapped=mapped)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("array", [GOOD, np.asfortranarray(GOOD), GOOD[:0]])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_good_npy_is_read(array, mapped, tmp_path):
    np.save(tmp_path / "x.npy", array)
    np.testing.assert_array_equal(read_npy(tmp_path / "x.npy", np.int32, (None, 4), mapped=mapped), array)


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"x\.npy: missing"):
        read_npy(tmp_path / "x.npy", np.int32, (None,))
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_npy(tmp_path, np.int32, (None,))


def test_an_npz_is_read_key_by_key(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=GOOD, b=np.array([{}], object))
    kinds = frozenset({np.int32, np.uint8})
    np.testing.assert_array_equal(read_npz(path, {"a": (kinds, (3, None))})["a"], GOOD)
    for expected, words in (
        ({"b": (np.int32, (None,))}, "x.npz: 'b': object of shape"),
        ({"c": (np.int32, (None,))}, "x.npz: no array 'c'"),
        ({"a": (np.uint8, (3, 4))}, "x.npz: 'a': int32 of shape"),
    ):
        with pytest.raises(DataError, match=words):
            read_npz(path, expected)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"x\.npz: File is not a zip file; copy or write it again"):
        read_npz(path, {"a": (np.int32, (3, 4))})


def test_an_npz_that_unpacks_too_far_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("marsgen.core.storage.arrays.UNPACKED_FREELY_BYTES", 10_000)
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(10**6, np.uint8))
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        info = archive.getinfo("a.npy")
    assert info.file_size > MOST_UNPACKED * info.compress_size
    with pytest.raises(DataError, match=r"x\.npz: 'a': unpacks to 1,000,128 bytes, more than 200 times"):
        read_npz(tmp_path / "x.npz", {"a": (np.uint8, (None,))})


def test_nothing_else_reads_arrays():
    """numpy's own readers end in a dozen kinds of exceptions: all files go through core/storage/arrays.py, but for
    the user's cache, where a damaged file is the same as none and nothing has to be said about it."""
    root = Path(__file__).parents[3]
    words = ("np.load(", "read_array_header", "read_magic", "np.fromfile")
    found = {
        str(path.relative_to(root))
        for package in ("marsgen", "segmenter")
        for path in (root / package).rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in words)
    }
    assert found == {"marsgen/core/storage/arrays.py", "marsgen/cleaning/survey_cache.py"}
