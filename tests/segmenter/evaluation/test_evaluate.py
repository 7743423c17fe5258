"""Evaluation: what is counted, on which scenes, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from painted_runs import (
    CLASSES,
    ArrayScenes,
    evaluate_run,
    keys_of,
    paint_labels,
    predictor,
    read_json,
    with_margins,
    write_run,
)

from marsgen.core.errors import DataError, RunError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.confusion import confusion_matrix, iou_per_class
from segmenter.evaluation.config import EvaluateConfig
from segmenter.evaluation.evaluate import choose_scenes, evaluate, evaluation_folder
from segmenter.evaluation.reader import read_evaluation
from segmenter.evaluation.regions import false_alarms, true_regions
from segmenter.evaluation.summary import evaluation_lines

ROCK = 2


@pytest.fixture
def source() -> ArrayScenes:
    return ArrayScenes(paint_labels(11))


def maps(truth_rows: list[str], predicted_rows: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Label maps drawn with characters: `#` rock, `.` soil, `?` ignored."""
    index = {"#": ROCK, ".": 0, "?": 255}
    return tuple(np.array([[index[c] for c in row] for row in rows], np.uint8) for rows in (truth_rows, predicted_rows))  # type: ignore[return-value]


# regions


def test_regions_and_hits_counted_by_hand():
    truth, predicted = maps(
        ["##....", "##...#", "....#.", "......"],
        ["#.....", "#...##", "......", ".##..."],
    )
    regions = true_regions(truth, predicted, ROCK, image=7)
    # the square, and two pixels that touch at a corner: one region
    assert regions[["image", "class_index", "area_px", "hit_px", "foot_row"]].tolist() == [
        (7, 2, 4, 2, 1),
        (7, 2, 2, 1, 2),
    ]
    np.testing.assert_allclose(regions["row"], [0.5, 1.5])
    np.testing.assert_allclose(regions["column"], [0.5, 4.5])


def test_small_components_are_no_regions():
    truth, predicted = maps(["##..#", "##..."], ["##..#", "##..."])
    assert true_regions(truth, predicted, ROCK, min_region_px=2)["area_px"].tolist() == [4]
    assert false_alarms(truth * 0, predicted, ROCK, min_region_px=2)["area_px"].tolist() == [4]


def test_a_false_alarm_lies_on_labelled_ground_away_from_every_rock():
    truth, predicted = maps(
        ["#......???", ".......???", "..........", "?........."],
        ["##..##...#", "....##..##", "..........", "##........"],
    )
    alarms = false_alarms(truth, predicted, ROCK)
    # touches the rock: no; 2 x 2 on soil: yes; three pixels without a label: no; half of it labelled: yes
    assert alarms[["area_px", "foot_row"]].tolist() == [(4, 1), (2, 3)]


def test_an_image_without_the_class_has_no_regions():
    truth, predicted = maps(["...."], ["...."])
    assert len(true_regions(truth, predicted, ROCK)) == len(false_alarms(truth, predicted, ROCK)) == 0


# counts


def test_every_image_has_its_own_confusion_matrix(tmp_path: Path, source: ArrayScenes):
    predict = predictor(source, rock_skill=0.5)
    evaluation = evaluate_run(write_run(tmp_path / "run"), source, rock_skill=0.5, batch_size=4)
    for i, scene in enumerate(source):
        expected = confusion_matrix(scene.indices, predict(scene.image[None])[0], 3)
        np.testing.assert_array_equal(evaluation.counts[i], expected)
        assert evaluation.ignored[i] == (scene.labels == 0).sum()
    assert evaluation.counts.dtype == np.int32
    assert evaluation.names == tuple(source.names)
    assert evaluation.keys == tuple(keys_of(source))


def test_summary_follows_from_the_counts(tmp_path: Path, source: ArrayScenes):
    evaluation = evaluate_run(write_run(tmp_path / "run"), source, rock_skill=0.5)
    confusion = evaluation.counts.sum(0)
    record = evaluation.record
    np.testing.assert_allclose([s["iou"] for s in record["per_class"]], iou_per_class(confusion))
    np.testing.assert_allclose(record["pixel_accuracy"], np.trace(confusion) / confusion.sum())
    whole = sum(map_.size for map_ in source.labels)
    np.testing.assert_allclose(record["pixel_accuracy_ignored_wrong"], np.trace(confusion) / whole)
    rock = record["per_class"][ROCK]
    showing = sum((map_ == 4).any() for map_ in source.labels)
    assert 0 < rock["regions_found"] < rock["regions"] == showing  # one square rock per scene, some not seen
    assert rock["regions_found"] == evaluation.found().sum()


def test_found_needs_the_stated_share_of_the_region(tmp_path: Path):
    labels = np.full((32, 48), 1, np.uint8)
    labels[4:12, 4:12] = 4
    source = ArrayScenes([labels])
    predicted = np.zeros((1, 32, 48), np.uint8)
    predicted[0, 4:6, 4:12] = ROCK  # 16 of 64 pixels
    found = {}
    for share in (0.25, 0.26):
        run = write_run(tmp_path / f"run{share}")
        config = EvaluateConfig(found_fraction=share)
        scored = evaluate(
            run, source, choose_scenes(run, source), CLASSES, with_margins(lambda images: predicted), config
        )
        found[share] = (
            scored.record["per_class"][ROCK]["regions_found"],
            scored.record["per_class"][ROCK]["regions_touched"],
        )
    assert found == {0.25: (1, 1), 0.26: (0, 1)}


def test_batches_are_small_and_of_one_size(tmp_path: Path):
    source = ArrayScenes([*paint_labels(5), np.full((40, 40), 1, np.uint8), *paint_labels(2, seed=9)])
    run, seen = write_run(tmp_path / "run"), []

    def predict(images: np.ndarray) -> np.ndarray:
        seen.append(images.shape)
        return np.zeros(images.shape[:3], np.uint8)

    evaluate(run, source, choose_scenes(run, source), CLASSES, with_margins(predict), EvaluateConfig(batch_size=3))
    assert [shape[:3] for shape in seen] == [(3, 32, 48), (2, 32, 48), (1, 40, 40), (2, 32, 48)]


def test_killed_and_repeated_evaluation_ends_with_the_same_bytes(tmp_path: Path, source: ArrayScenes):
    smooth, killed = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    config, predict = EvaluateConfig(batch_size=2), predictor(source, 0.5)
    calls = []

    def dying(images: np.ndarray) -> np.ndarray:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return predict(images)

    whole = evaluate(smooth, source, choose_scenes(smooth, source), CLASSES, with_margins(predict), config)
    with pytest.raises(KeyboardInterrupt):
        evaluate(killed, source, choose_scenes(killed, source), CLASSES, with_margins(dying), config)
    folder = evaluation_folder(killed, source, "all")
    with pytest.raises(RunError, match="has not finished"):
        read_evaluation(folder)
    evaluate(killed, source, choose_scenes(killed, source), CLASSES, with_margins(predict), config)
    contents = [{p.name: p.read_bytes() for p in f.iterdir() if p.name != ".lock"} for f in (whole.folder, folder)]
    assert contents[0] == contents[1]
    assert {"counts.npy", "ignored.npy", "regions.npy", "names.json", "evaluation.json", "DONE"} <= set(contents[0])


def test_a_finished_evaluation_is_read_not_repeated(tmp_path: Path, source: ArrayScenes):
    run = write_run(tmp_path / "run")
    evaluate_run(run, source, 0.5)

    def refuse(images: np.ndarray) -> np.ndarray:
        raise AssertionError("the network was called again")

    evaluate(run, source, choose_scenes(run, source), CLASSES, with_margins(refuse), EvaluateConfig())


def test_other_settings_need_another_folder(tmp_path: Path, source: ArrayScenes):
    run = write_run(tmp_path / "run")
    evaluate_run(run, source, 0.5)
    with pytest.raises(
        RunError, match=r"belongs to another run \(config\.found_fraction is 0\.25 there and 0\.5 here\)"
    ):
        evaluate_run(run, source, 0.5, found_fraction=0.5)


def test_the_folder_name_states_the_inference_settings(tmp_path: Path, source: ArrayScenes):
    run = write_run(tmp_path / "run")
    settings = [{}, {"flip": True}, {"scales": (0.5, 1)}, {"window": (64, 32)}, {"window": (64, 32), "overlap": 0.25}]
    plain, *others = (evaluation_folder(run, source, "all", EvaluateConfig(**each)).name for each in settings)
    assert plain == evaluation_folder(run, source, "all").name
    assert [name.removeprefix(plain) for name in others] == [
        "-flip",
        "-scales_0.5_1",
        "-window_64x32_0.5",
        "-window_64x32_0.25",
    ]


# which scenes


def own_run(folder: Path, source: ArrayScenes, **keys: object):
    """A run trained on `source` itself: scenes 0-5 train, 6-7 val, 8-10 test."""
    k = keys_of(source)
    data = {"location": source.location, "fingerprint": source.fingerprint()}
    return write_run(folder, data=data, **{"train_keys": k[:6], "val_keys": k[6:8], "test_keys": k[8:], **keys})  # type: ignore[arg-type]


def test_auto_takes_the_test_part_of_own_data_and_all_of_other_data(tmp_path: Path, source: ArrayScenes):
    run, other = own_run(tmp_path / "run", source), ArrayScenes(paint_labels(4, seed=3), seed=3)
    assert choose_scenes(run, source).indices == (8, 9, 10)
    assert choose_scenes(run, source, "val").indices == (6, 7)
    assert choose_scenes(run, other).indices == (0, 1, 2, 3)
    assert choose_scenes(run, other).part == "all"


def test_own_data_without_a_test_part_say_what_to_do(tmp_path: Path, source: ArrayScenes):
    run = own_run(tmp_path / "run", source, test_keys=())
    with pytest.raises(DataError, match=r"kept no test part of painted\.npz; give labelled test data .* part=val"):
        choose_scenes(run, source)


def test_a_part_by_name_exists_only_in_own_data(tmp_path: Path, source: ArrayScenes):
    run = own_run(tmp_path / "run", source)
    with pytest.raises(DataError, match=r"is not what .*run was trained on, so it has no val part"):
        choose_scenes(run, ArrayScenes(paint_labels(3), seed=8), "val")


def test_scenes_that_the_run_has_seen_are_refused_before_any_is_predicted(tmp_path: Path, source: ArrayScenes):
    run = own_run(tmp_path / "run", source, extra_keys=keys_of(source)[9:10])
    with pytest.raises(DataError, match="scene scene9 is one of the extra scenes"):
        choose_scenes(run, source)


def test_data_without_labels_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"painted\.npz: 2 scenes to score and not one labelled pixel"):
        choose_scenes(write_run(tmp_path / "run"), ArrayScenes([np.zeros((32, 32), np.uint8)] * 2))


def test_data_of_other_classes_are_refused(tmp_path: Path, source: ArrayScenes):
    run = write_run(tmp_path / "run")
    chosen = choose_scenes(run, source)
    other = ClassSet(("soil", "ice"), (1, 2), ((0, 0, 0), (9, 9, 9)), 0)
    with pytest.raises(DataError, match=r"has the classes soil, bedrock, big_rock; .* was trained on soil, ice"):
        evaluate(run, source, chosen, other, with_margins(predictor(source, 1)), EvaluateConfig())
    assert not (run.folder / "evaluations").exists()


# reading and text


def test_a_damaged_evaluation_is_named(tmp_path: Path, source: ArrayScenes):
    evaluation = evaluate_run(write_run(tmp_path / "run"), source, 0.5)
    (evaluation.folder / "counts.npy").write_bytes(b"nothing")
    with pytest.raises(RunError, match="damaged evaluation"):
        read_evaluation(evaluation.folder)


def test_lines_name_every_class_and_its_scores(tmp_path: Path, source: ArrayScenes):
    evaluation = evaluate_run(write_run(tmp_path / "run"), source, rock_skill=1.0)
    lines = evaluation_lines(evaluation)
    rocks = evaluation.record["per_class"][ROCK]["regions"]
    assert lines[3].split()[:4] == ["big_rock", "100.0", "100.0", "100.0"]
    assert f"{rocks} of {rocks} (100.0 %)" in lines[3]
    assert "11 images of painted.npz (all scenes)" in lines


@pytest.mark.parametrize(("part", "words"), [("train", "what was memorised"), ("val", "chose the checkpoint")])
def test_scores_on_seen_parts_say_so(tmp_path: Path, source: ArrayScenes, part: str, words: str):
    evaluation = evaluate_run(own_run(tmp_path / "run", source), source, 0.5, part=part)
    assert evaluation.folder.name.endswith(f"-{part}")
    assert words in evaluation_lines(evaluation)[-1]


def test_a_class_that_is_nowhere_has_no_score_in_the_file(tmp_path: Path):
    source = ArrayScenes(paint_labels(3, rocks=0))
    evaluation = evaluate_run(write_run(tmp_path / "run"), source, 0.5)
    assert read_json(evaluation.folder / "evaluation.json")["per_class"][ROCK]["iou"] is None
    assert evaluation_lines(evaluation)[3].split() == [
        "big_rock",
        *"---",
        "no",
        "region",
        "there,",
        "0",
        "false",
        "alarms",
    ]
