"""What was found in a data set is kept between commands: the same results with it, without it, and where damaged."""

import numpy as np
import pytest
import torch
from listed_scenes import ListedScenes, fingerprint_scenes, noise_images

from marsgen.cleaning import survey_cache
from marsgen.cleaning.dataset import Dataset
from marsgen.cleaning.near_duplicates import find_duplicates
from marsgen.cleaning.resaved import find_copies
from marsgen.cleaning.splits import Split
from marsgen.cleaning.survey import Survey, survey_scenes
from marsgen.generators.training import survey_styles


class CountedScenes(ListedScenes):
    """Counts how often a scene is read."""

    reads = 0

    def read(self, index):
        """See `SceneSource.read`."""
        self.reads += 1
        return super().read(index)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where things are kept, however quickly they were found."""
    monkeypatch.setenv("MARSGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(survey_cache, "LEAST_SECONDS", 0.0)
    return tmp_path / "cache" / "found"


def opened(changed: int | None = None) -> CountedScenes:
    """Twenty pictures, each once more with every pixel a little brighter; `changed`: one of them is another."""
    images = noise_images(20, (48, 64))
    images = [*images, *(np.minimum(image, 250) + 3 for image in images)]
    if changed is not None:
        images[changed] = noise_images(1, (48, 64), seed=9)[0]
    return CountedScenes([image.astype(np.uint8) for image in images])


def look(scenes) -> tuple[Survey, list]:
    survey = survey_scenes(scenes)
    return survey, find_duplicates(scenes, survey, 0.75)


def assert_same(one, other) -> None:
    for name in ("pixels", "thumbnails"):
        left, right = getattr(one[0], name), getattr(other[0], name)
        assert left.dtype == right.dtype
        assert left.tobytes() == right.tobytes()
    assert (one[0].keys, one[0].label_keys, one[1]) == (other[0].keys, other[0].label_keys, other[1])


def test_a_second_look_reads_a_few_scenes_and_finds_the_same(folder):
    first = look(opened())
    assert len(first[1]) == 20
    assert sorted(path.name.split("-")[0] for path in folder.iterdir()) == ["pairs", "survey"]
    again = opened()
    assert_same(look(again), first)
    assert again.reads == 5


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut short", bytes(100)])
def test_damaged_files_are_found_anew(folder, damage):
    first = look(opened())
    for path in folder.iterdir():
        path.write_bytes(damage)
    assert_same(look(opened()), first)
    assert all(path.stat().st_size > 500 for path in folder.iterdir())  # and mended


def test_arrays_of_other_shapes_are_found_anew(folder):
    first = look(opened())
    for path in folder.iterdir():
        with np.load(path) as file:
            np.savez(path, **{name: file[name][n == 0 :] for n, name in enumerate(file.files)})
    assert_same(look(opened()), first)


def test_another_picture_is_another_survey(folder):
    look(opened())
    survey, pairs = look(opened(changed=3))
    survey_cache.cache_folder().joinpath("found").rename(folder.parent / "gone")
    assert_same((survey, pairs), look(opened(changed=3)))
    assert len(pairs) == 19


def test_pictures_read_in_another_way_are_surveyed_anew(monkeypatch):
    first = survey_scenes(opened())
    other = opened()
    fingerprint = other.fingerprint()
    monkeypatch.setattr(CountedScenes, "fingerprint", lambda self: fingerprint)  # as of unchanged files
    other.images = [255 - image for image in other.images]
    assert survey_scenes(other).keys != first.keys


def test_a_folder_that_cannot_be_written_costs_no_result(tmp_path, monkeypatch):
    first = look(opened())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MARSGEN_CACHE", str(tmp_path / "file"))
    assert_same(look(opened()), first)


def test_quick_surveys_are_not_kept(folder, monkeypatch):
    monkeypatch.setattr(survey_cache, "LEAST_SECONDS", 60.0)
    look(opened())
    assert not folder.exists()


def test_the_cache_lies_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.delenv("MARSGEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert survey_cache.cache_folder() == tmp_path / "marsgen"


def test_copies_are_looked_for_once_among_the_same_pictures(folder):
    known = fingerprint_scenes(opened())

    def copies(scenes, *more) -> list:
        return find_copies(known[:5], scenes, *more)

    first = copies(opened())
    assert [(copy.asked, copy.known) for copy in first] == [(n, n % 20) for n in (*range(5), *range(20, 25))]
    again = opened()
    assert copies(again) == first
    assert again.reads == 0
    # whatever else is asked has an answer of its own
    assert copies(opened(changed=2)) == [copy for copy in first if copy.asked != 2]
    assert copies(opened(), [0, 7]) == first[:1]
    assert [copy.known for copy in find_copies(known[1:2], opened())] == [0, 0]
    assert copies(opened(), None, 1.01) == []
    # and what cannot be such an answer is not taken for one
    for path in folder.glob("copies-*"):
        np.savez(path, places=np.array([[0, 9]]), agreements=np.array([1.0]))
    assert copies(opened()) == first


def test_styles_are_measured_once_for_the_same_pictures(folder):
    def styles(scenes, train=range(5, 25)):
        dataset = Dataset(scenes, survey_scenes(scenes), {}, Split(tuple(train), (0,), ()))
        scenes.reads = 0
        return survey_styles(dataset).styles

    first = opened()
    measured = styles(first)
    assert (first.reads, measured.shape) == (20, (20, 3))
    again = opened()
    assert torch.equal(styles(again), measured)
    assert again.reads == 0
    # other scenes have styles of their own
    assert torch.equal(styles(opened(), range(6, 25)), measured[1:])
    assert not torch.equal(styles(opened(changed=7)), measured)
    # and what cannot be styles is not taken for them
    for path in folder.glob("styles-*"):
        np.savez(path, styles=np.zeros((20, 9), np.float32))
    assert torch.equal(styles(opened()), measured)
