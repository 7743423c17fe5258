"""open_scenes: one word on the command line, the right reader behind it, and the simulator's options."""

import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.readers.folder import SceneFolder, write_classes, write_pair
from marsgen.scenes.readers.npz import NpzScenes
from marsgen.scenes.simulate import SimulationConfig, simulate_scene, simulate_stop
from marsgen.scenes.sources import open_scenes
from marsgen.scenes.stated import mars_classes

SMALL = "sim:3,size=32x40"


def test_each_kind_of_data_gets_its_reader(tiny_npz: Path, tmp_path: Path):
    scene = open_scenes(SMALL)[0]
    write_pair(tmp_path, "a", scene.image, scene.labels, scene.classes)
    write_classes(tmp_path, scene.classes)
    assert isinstance(open_scenes(str(tiny_npz)), NpzScenes)
    folder = open_scenes(str(tmp_path))
    assert isinstance(folder, SceneFolder)
    assert folder.location == str(tmp_path)
    np.testing.assert_array_equal(folder[0].image, scene.image)


def test_the_npz_has_mars_classes_unless_told(tmp_path: Path):
    path = tmp_path / "X.NPZ"
    with path.open("wb") as file:
        np.savez(file, images=np.zeros((2, 32, 32), np.uint8), labels=np.full((2, 32, 32), 9, np.uint8))
    own = ClassSet(("ice", "fog"), (8, 9), ((1, 1, 1), (2, 2, 2)), ignored=0)
    assert (open_scenes(str(path), classes=own)[0].indices == 1).all()
    with pytest.raises(DataError, match=r"images\[0000\]: label 9 at row 0, column 0 is not one of \[1, 2, 3, 4\]"):
        open_scenes(str(path))


def test_unlabelled_is_passed_on(tiny_npz: Path, tmp_path: Path):
    assert open_scenes(str(tiny_npz), labelled=False).names[0] == "test_set[0000]"
    scene = open_scenes(SMALL)[0]
    write_pair(tmp_path, "a", scene.image, scene.labels, scene.classes)
    unlabelled = open_scenes(str(tmp_path / "images"), labelled=False)  # no classes file needed
    assert unlabelled.classes == mars_classes()
    np.testing.assert_array_equal(unlabelled[0].image, scene.image)


@pytest.mark.parametrize("location", ["nowhere", "nowhere.npz", "sim400", "", "bad\0name", "x" * 5000])
def test_a_missing_path_says_what_data_can_be(location: str):
    with pytest.raises(DataError, match=r"no such file or folder( in .*)?; give an \.npz, a folder .* or sim:N"):
        open_scenes(location)


def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    (tmp_path / "data.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"data\.csv: a file but no \.npz or Parquet; --data takes"):
        open_scenes(str(tmp_path / "data.csv"))


def test_an_unfinished_run_is_no_data_yet(tmp_path: Path):
    scene = open_scenes(SMALL)[0]
    write_pair(tmp_path, "a", scene.image, scene.labels, scene.classes)
    write_classes(tmp_path, scene.classes)
    for name in ("config.yaml", "environment.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(DataError, match="a run that has not finished; repeat its command and it goes on"):
        open_scenes(str(tmp_path))
    (tmp_path / "DONE").write_text("{}")
    assert len(open_scenes(str(tmp_path))) == 1


def test_opening_data_does_not_wait_for_torch_or_scipy(tiny_npz: Path):
    code = (
        "import sys; from marsgen.scenes.sources import open_scenes; open_scenes(sys.argv[1])[0]; "
        "print({'torch', 'scipy', 'skimage', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tiny_npz)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")


# the simulator


def test_simulated_scenes_are_the_simulators(tmp_path: Path):
    scenes = open_scenes("sim:9,seed=3,size=40x56,channels=3,rocks=0.5,outliers=0.25,noise=0")
    config = SimulationConfig(40, 56, 3, seed=3, rock_scene_fraction=0.5, outlier_fraction=0.25, label_noise=0)
    assert (len(scenes), scenes.shape, scenes.channels) == (9, (40, 56), 3)
    assert (scenes.names[8], scenes.parts) == ("sim[0008]", None)
    assert scenes.groups == tuple(simulate_stop(i, config) for i in range(9))
    for index in (8, 0, 3, 0):
        image, labels = simulate_scene(index, config)
        np.testing.assert_array_equal(scenes[index].image, image)
        np.testing.assert_array_equal(scenes[index].labels, labels)


def test_plain_simulation_has_the_simulators_own_defaults():
    scenes = open_scenes("sim:2")
    np.testing.assert_array_equal(scenes[1].image, simulate_scene(1, SimulationConfig())[0])


def test_a_simulated_scene_can_be_changed_without_changing_the_next_read():
    scenes = open_scenes(SMALL)
    first = scenes.read(1)
    kept = [a.copy() for a in first]
    for array in first:
        array[:] = 0
    for again, expected in zip(scenes.read(1), kept, strict=True):
        np.testing.assert_array_equal(again, expected)
    np.testing.assert_array_equal(scenes.read(-2)[0], kept[0])


def test_reading_past_the_end_stops():
    scenes = open_scenes(SMALL)
    with pytest.raises(IndexError, match="out of range"):
        scenes.read(3)
    assert len(list(scenes)) == 3


def test_unlabelled_simulation_hides_its_labels():
    seen, hidden = open_scenes(SMALL), open_scenes(SMALL, labelled=False)
    np.testing.assert_array_equal(hidden[0].image, seen[0].image)
    assert seen[0].labels.any()
    assert not hidden[0].labels.any()
    assert seen.fingerprint() != hidden.fingerprint()


def test_threads_forks_and_copies_draw_the_same():
    scenes = open_scenes("sim:12,size=32x40")
    alone = [open_scenes("sim:12,size=32x40").read(i)[0] for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_array_equal(list(pool.map(lambda i: scenes.read(i % 12)[0], range(36))), alone * 3)
    with multiprocessing.get_context("fork").Pool(2) as processes:
        forked = processes.map(scenes.read, range(12))
    np.testing.assert_array_equal([image for image, _ in forked], alone)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(scenes))[5].image, alone[5])


def test_scenes_that_share_a_slot_of_memory_are_not_confused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("marsgen.scenes.sources._CACHE_BYTES", 2 * 32 * 40 * 2)
    scenes, config = open_scenes("sim:5,size=32x40"), SimulationConfig(32, 40)
    for index in (0, 2, 4, 1, 3, 0):
        np.testing.assert_array_equal(scenes.read(index)[0], simulate_scene(index, config)[0])


def test_the_fingerprint_names_the_options_and_not_how_they_are_written():
    def fingerprint(location: str) -> str:
        return open_scenes(location).fingerprint()

    assert len(fingerprint("sim:3")) == 16
    assert fingerprint("sim:3") == fingerprint("sim:3,noise=1.0,seed=0,size=64x128")
    others = ("sim:3", "sim:4", "sim:3,seed=1", "sim:3,size=64x64", "sim:3,rocks=0.5", "sim:3,noise=0.5")
    assert len({fingerprint(location) for location in others}) == len(others)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("sim:", r"expected a number of scenes in 1\.\.1000000, as in sim:400,seed=3"),
        ("sim:0", "expected a number of scenes"),
        ("sim:-3", "expected a number of scenes"),
        ("sim:many", "expected a number of scenes"),
        ("sim:1000001", "expected a number of scenes"),
        ("sim:3,sead=1", r"no option 'sead' \(did you mean 'seed'\?\); there are seed, size, channels"),
        ("sim:3,", r"no option ''; there are"),
        ("sim:3,seed=one", "seed=one cannot be read; expected an integer"),
        ("sim:3,seed=", "seed= cannot be read; expected an integer"),
        ("sim:3,seed", "seed= cannot be read"),
        ("sim:3,seed=-1", "seed is -1; expected an integer of at least 0"),
        ("sim:3,seed=1,seed=2", "option 'seed' is given twice"),
        ("sim:3,size=64", "size has 1 sides; expected HEIGHTxWIDTH"),
        ("sim:3,size=axb", "size=axb cannot be read; expected HEIGHTxWIDTH in pixels"),
        ("sim:3,size=16x64", "height is 16; expected an integer of at least 32"),
        ("sim:3,channels=2", r"channels is 2; expected 1 \(grey\) or 3"),
        ("sim:3,rocks=1.5", r"rock_scene_fraction is 1\.5; expected a share"),
        ("sim:3,outliers=nan", "outlier_fraction is nan; expected a share"),
        ("sim:3,noise=lots", r"noise=lots cannot be read; expected the carelessness of labels, 0\.\.1"),
    ],
)
def test_a_misspelt_simulation_is_explained(location: str, words: str):
    with pytest.raises(DataError, match=f"{location}: {words}"):
        open_scenes(location)


def test_other_classes_cannot_be_simulated():
    own = replace(mars_classes(), ids=(1, 2, 3, 7))
    with pytest.raises(DataError, match=r"simulated scenes have the classes and ids .*leave --classes out"):
        open_scenes(SMALL, classes=own)
    recoloured = replace(mars_classes(), colours=((1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4)))
    assert open_scenes(SMALL, classes=recoloured).classes == recoloured
