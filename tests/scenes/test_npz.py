"""The npz source: equal to numpy's own reading, never unpickled, never loaded whole when large."""

import io
import multiprocessing
import os
import pickle
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from marsgen.core.errors import DataError
from marsgen.scenes.readers.npz import NpzScenes
from marsgen.scenes.stated import mars_classes

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (7, 33, 47), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (7, 33, 47, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 5, (7, 33, 47), dtype=np.uint8)


def saved(path: Path, *, packed: bool = True, **arrays: np.ndarray) -> Path:
    (np.savez_compressed if packed else np.savez)(path, **arrays)
    return path


def opened(path: Path, **options) -> NpzScenes:
    return NpzScenes(path, mars_classes(), **options)


@pytest.fixture
def course(tmp_path: Path) -> Path:
    return saved(tmp_path / "course.npz", training_set=np.stack([IMAGES, LABELS], 1), test_set=255 - IMAGES[:3])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARSGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def assert_holds(scenes: NpzScenes, images: np.ndarray, labels: np.ndarray) -> None:
    assert len(scenes) == len(images)
    for index in (*range(len(images)), -1):
        scene = scenes[index]
        np.testing.assert_array_equal(scene.image, images[index].reshape(*images.shape[1:3], -1))
        np.testing.assert_array_equal(scene.labels, labels[index])


def test_the_courses_file(course: Path):
    scenes = opened(course)
    assert (scenes.channels, scenes.shape) == (1, (33, 47))
    assert (scenes.groups, scenes.parts) == (None, None)
    assert scenes.names[6] == "training_set[0006]"
    assert_holds(scenes, IMAGES, LABELS)


def test_the_courses_unlabelled_images(course: Path):
    scenes = opened(course, labelled=False)
    assert scenes.names == ("test_set[0000]", "test_set[0001]", "test_set[0002]")
    assert_holds(scenes, 255 - IMAGES[:3], np.zeros_like(LABELS))


def test_images_and_labels_grey_and_colour(tmp_path: Path):
    for images, channels in ((IMAGES, 1), (IMAGES[..., None], 1), (COLOUR, 3)):
        scenes = opened(saved(tmp_path / "pair.npz", images=images, labels=LABELS))
        assert (scenes.channels, scenes.names[0]) == (channels, "images[0000]")
        assert_holds(scenes, images, LABELS)


def test_images_alone_can_be_predicted_but_not_trained_on(tmp_path: Path):
    path = saved(tmp_path / "x.npz", images=IMAGES)
    assert_holds(opened(path, labelled=False), IMAGES, np.zeros_like(LABELS))
    with pytest.raises(
        DataError, match=r"x\.npz: images without labels \(keys found: images\); expected 'training_set'"
    ):
        opened(path)


def test_a_test_set_alone_can_be_predicted_but_not_trained_on(tmp_path: Path):
    path = saved(tmp_path / "x.npz", test_set=IMAGES)
    assert_holds(opened(path, labelled=False), IMAGES, np.zeros_like(LABELS))
    with pytest.raises(DataError, match=r"x\.npz: images without labels \(keys found: test_set\)"):
        opened(path)


def test_training_images_can_be_predicted_where_there_are_no_others(tmp_path: Path):
    path = saved(tmp_path / "x.npz", training_set=np.stack([IMAGES, LABELS], 1))
    assert_holds(opened(path, labelled=False), IMAGES, np.zeros_like(LABELS))


def test_arrays_that_nobody_asks_for_are_not_looked_at(tmp_path: Path):
    strange = np.array([{"a": 1}], dtype=object)
    assert_holds(opened(saved(tmp_path / "x.npz", images=IMAGES, labels=LABELS, extra=strange)), IMAGES, LABELS)


def test_column_major_arrays_are_read_the_right_way_round(tmp_path: Path, cache: Path):
    for packed in (True, False):
        path = saved(tmp_path / "x.npz", packed=packed, images=np.asfortranarray(COLOUR), labels=LABELS)
        for limit in (0, 10**9):
            assert_holds(opened(path, memory_limit=limit), COLOUR, LABELS)


def test_a_read_scene_can_be_changed_without_changing_the_source(course: Path):
    scenes = opened(course)
    image, labels = scenes.read(0)
    image[:], labels[:] = 0, 0
    assert_holds(scenes, IMAGES, LABELS)


# large files


def test_a_large_array_is_unpacked_once_and_mapped(course: Path, cache: Path):
    scenes = opened(course, memory_limit=10_000)
    assert_holds(scenes, IMAGES, LABELS)
    (unpacked,) = cache.iterdir()
    np.testing.assert_array_equal(np.load(unpacked, allow_pickle=False), np.stack([IMAGES, LABELS], 1))
    first = unpacked.stat().st_mtime_ns
    assert_holds(opened(course, memory_limit=10_000), IMAGES, LABELS)
    assert [p.stat().st_mtime_ns for p in cache.iterdir()] == [first]


def test_the_cache_goes_by_content_and_not_by_name(course: Path, cache: Path):
    before = opened(course, memory_limit=0)
    saved(course, training_set=np.stack([255 - IMAGES, LABELS], 1))
    assert_holds(opened(course, memory_limit=0), 255 - IMAGES, LABELS)
    assert_holds(before, IMAGES, LABELS)


def test_half_an_array_of_a_killed_process_leaves_the_cache(course: Path, cache: Path):
    opened(course, memory_limit=10_000)
    (unpacked,) = cache.iterdir()
    unpacked.unlink()
    old, new = (cache / f".{unpacked.name}.{pid}.partial" for pid in (4711, 4712))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    opened(course, memory_limit=10_000)
    assert sorted(cache.iterdir()) == sorted([unpacked, new])  # the other one may still be written


def test_a_damaged_cache_is_filled_again(course: Path, cache: Path):
    opened(course, memory_limit=0)
    for unpacked in cache.iterdir():
        unpacked.write_bytes(b"half")
    assert_holds(opened(course, memory_limit=0), IMAGES, LABELS)


def test_a_stored_array_is_mapped_where_it_lies(tmp_path: Path, cache: Path):
    path = saved(tmp_path / "x.npz", packed=False, images=COLOUR, labels=LABELS)
    scenes = opened(path, memory_limit=0)
    assert_holds(scenes, COLOUR, LABELS)
    assert not cache.exists()
    assert scenes.fingerprint() == opened(path).fingerprint()


def test_a_cache_that_cannot_be_written_is_named(course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "occupied").write_text("a file")
    monkeypatch.setenv("MARSGEN_CACHE", str(tmp_path / "occupied"))
    with pytest.raises(
        DataError, match=r"occupied: cannot hold the 0 MiB of 'training_set\.npy' unpacked.*MARSGEN_CACHE"
    ):
        opened(course, memory_limit=0)


def test_memory_stays_far_below_the_size_of_the_data(tmp_path: Path, cache: Path):
    path = tmp_path / "large.npz"
    saved(path, images=np.zeros((3000, 128, 128), np.uint8), labels=np.ones((3000, 128, 128), np.uint8))
    for _ in range(2):  # unpacking, then mapping what is there
        tracemalloc.start()
        scenes = opened(path, memory_limit=2**20)
        scenes.fingerprint()
        assert (scenes[2999].labels == 1).all()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 30e6 < 2 * 3000 * 128 * 128


@pytest.mark.parametrize("limit", [0, 10**9])
def test_threads_forks_and_copies_read_the_same(course: Path, cache: Path, limit: int):
    scenes = opened(course, memory_limit=limit)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda i: scenes.read(i % 7)[0].sum(), range(70)))
    assert read == [IMAGES[i % 7].sum() for i in range(70)]
    with multiprocessing.get_context("fork").Pool(2) as processes:
        forked = processes.map(scenes.read, range(7))
    np.testing.assert_array_equal([image[..., 0] for image, _ in forked], IMAGES)
    assert_holds(pickle.loads(pickle.dumps(scenes)), IMAGES, LABELS)


# fingerprint


def test_the_fingerprint_follows_the_pixels_and_not_the_packing(course: Path, tmp_path: Path):
    pairs = np.stack([IMAGES, LABELS], 1)
    before = opened(course).fingerprint()
    assert len(before) == 16
    assert opened(saved(tmp_path / "y.npz", packed=False, training_set=pairs)).fingerprint() == before
    pairs[6, 1, 32, 46] = pairs[6, 1, 32, 46] % 4 + 1
    label_changed = opened(saved(tmp_path / "y.npz", training_set=pairs)).fingerprint()
    pairs[6, :, 32, 46] = IMAGES[6, 32, 46] ^ 1, LABELS[6, 32, 46]
    image_changed = opened(saved(tmp_path / "y.npz", training_set=pairs)).fingerprint()
    reshaped = saved(tmp_path / "y.npz", images=IMAGES.reshape(7, 47, 33), labels=LABELS.reshape(7, 47, 33))
    assert len({before, label_changed, image_changed, opened(reshaped).fingerprint()}) == 4
    assert opened(course, labelled=False).fingerprint() != before


# refused


def refused(path: Path, words: str, **options) -> None:
    with pytest.raises(DataError, match=words) as caught:
        opened(path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("limit", [0, 10**9])
def test_an_unknown_id_is_named_with_file_image_and_pixel(tmp_path: Path, cache: Path, limit: int):
    labels = LABELS.copy()
    labels[5, 20, 30], labels[5, 21, 1] = 9, 8
    path = saved(tmp_path / "x.npz", images=IMAGES, labels=labels)
    refused(path, r"x\.npz: images\[0005\]: label 9 at row 20, column 30 is not one of", memory_limit=limit)


def test_an_unknown_id_far_into_a_large_file_is_counted_right(tmp_path: Path):
    labels = np.ones((900, 96, 96), np.uint8)  # several blocks of 4 MiB
    labels[777, 3, 4] = 200
    refused(
        saved(tmp_path / "x.npz", images=labels, labels=labels),
        r"images\[0777\]: label 200 at row 3, column 4",
    )


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16])
def test_float_images_have_no_stated_range(tmp_path: Path, kind: type):
    path = saved(tmp_path / "x.npz", images=IMAGES.astype(kind), labels=LABELS)
    refused(path, r"x\.npz: 'images': float images without a stated range; convert to uint8")
    path = saved(tmp_path / "x.npz", training_set=np.stack([IMAGES, LABELS], 1).astype(kind))
    refused(path, r"x\.npz: 'training_set': float images without a stated range")


@pytest.mark.parametrize("kind", ["int64", "uint16", "bool", "int8"])
def test_other_types_are_refused(tmp_path: Path, kind: str):
    refused(
        saved(tmp_path / "x.npz", images=IMAGES.astype(kind), labels=LABELS), rf"'images' is {kind}; expected uint8"
    )
    refused(
        saved(tmp_path / "x.npz", images=IMAGES, labels=LABELS.astype(kind)), rf"'labels' is {kind}; expected uint8"
    )


def test_float_labels_are_refused(tmp_path: Path):
    path = saved(tmp_path / "x.npz", images=IMAGES, labels=LABELS.astype(np.float32))
    refused(path, "'labels' is float32; expected uint8")


class Bomb:
    """Unpickling this would leave a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_objects_are_never_unpickled(tmp_path: Path):
    trace = tmp_path / "exploded"
    bombs = np.empty(7, dtype=object)
    bombs[:] = [Bomb(trace)] * 7
    path = saved(tmp_path / "x.npz", training_set=bombs)
    refused(path, r"x\.npz: 'training_set' holds python objects, which are never unpickled; save plain uint8")
    assert not trace.exists()
    np.load(path, allow_pickle=True)["training_set"]
    assert trace.exists()  # the bomb was live


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"training_set": IMAGES}, r"'training_set' has shape \(7, 33, 47\); expected \(N, 2, height, width\)"),
        ({"training_set": np.stack([IMAGES] * 3, 1)}, r"'training_set' has shape \(7, 3, 33, 47\); expected \(N, 2,"),
        ({"images": IMAGES[0], "labels": LABELS}, r"'images' has shape \(33, 47\); expected \(N, height, width\) or"),
        ({"images": COLOUR[..., :2], "labels": LABELS}, r"'images' has shape \(7, 33, 47, 2\); expected"),
        ({"images": IMAGES, "labels": COLOUR}, r"'labels' has shape \(7, 33, 47, 3\); expected \(N, height, width\)"),
        (
            {"images": IMAGES, "labels": LABELS[:6]},
            r"'labels' has shape \(6, 33, 47\) beside 'images' of \(7, 33, 47\)",
        ),
        ({"images": IMAGES, "labels": LABELS[:, :32]}, r"'labels' has shape \(7, 32, 47\) beside 'images'"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, r"\(0, 33, 47\), which holds no scene; expected at least one"),
        ({"images": IMAGES[:, :31], "labels": LABELS[:, :31]}, "'images': 31 x 47 pixels; at least 32 x 32 are needed"),
        (
            {"trainin_set": IMAGES},
            r"keys found: trainin_set \(did you mean 'training_set'\?\); expected 'training_set'",
        ),
        ({"x": IMAGES, "y": LABELS}, r"keys found: x, y; expected 'training_set' \(N, 2, height, width\), or 'images'"),
        ({}, "keys found: none; expected 'training_set'"),
    ],
)
def test_wrong_keys_and_shapes_are_named(tmp_path: Path, arrays: dict, words: str):
    refused(saved(tmp_path / "x.npz", **arrays), r"x\.npz: .*" + words)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_no_whole_npz(course: Path, share: float):
    content = course.read_bytes()
    course.write_bytes(content[: int(len(content) * share)])
    refused(course, r"course\.npz: no whole \.npz file .*; it may be cut short, copy or download it again")


@pytest.mark.parametrize("limit", [0, 10**9])
def test_a_corrupted_file_is_noticed_and_leaves_no_cache(course: Path, cache: Path, limit: int):
    content = bytearray(course.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 40] = bytes(40)
    course.write_bytes(content)
    refused(course, r"course\.npz: no whole \.npz file", memory_limit=limit)
    assert not cache.exists() or list(cache.iterdir()) == []


def member(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def zipped(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("training_set.npy", content)
    return path


def test_a_member_shorter_or_longer_than_its_shape_is_damaged(tmp_path: Path):
    whole = member(np.stack([IMAGES, LABELS], 1))
    for content in (whole[:-5], whole + b"more"):
        refused(zipped(tmp_path / "x.npz", content), r"'training_set' has \d+ bytes for shape .*the file is damaged")


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x09\x00", b"\x93NUMPY\x01\x00\x05\x00{'a':"])
def test_a_member_that_is_no_array_is_named(tmp_path: Path, content: bytes):
    refused(zipped(tmp_path / "x.npz", content), r"x\.npz: 'training_set' has no numpy header \(.+\); save it again")


def test_an_encrypted_or_unknown_packing_is_named(course: Path):
    content = bytearray(course.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 8] |= 1  # flag "encrypted", which the reader takes from the central directory
    local = content.index(b"PK\x03\x04")
    content[local + 6] |= 1
    course.write_bytes(content)
    refused(course, r"course\.npz: packed in an unknown way \(.*encrypted.*\); write it with numpy\.savez_compressed")


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "labelled", "count", "rare_fraction"),
    [
        ("mars_for_students.npz", True, 2615, 0.0012),
        ("mars_for_students.npz", False, 4000, 0),
        ("mars_dev_test.npz", True, 3000, 0.0114),
    ],
)
def test_real_files(real_data: Path, name: str, labelled: bool, count: int, rare_fraction: float):
    scenes = opened(real_data / name, labelled=labelled)
    assert (len(scenes), scenes.shape, scenes.channels) == (count, (64, 128), 1)
    rare = np.mean([(scenes.read(i)[1] == 4).mean() for i in range(count)])
    assert rare == pytest.approx(rare_fraction, abs=2e-4)
