"""Raw counts of a study: what is kept, that it comes back the same, and what is refused in words."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from painted_runs import CLASSES, ArrayScenes, evaluate_run, paint_labels, write_run
from painted_studies import paint_study, rank_study, study_of

from marsgen.core.errors import DataError
from segmenter.results.counts import (
    SEED_REGION,
    ArmCounts,
    ImageList,
    StudyCounts,
    arm_of_evaluations,
    images_of_evaluations,
    read_counts,
    write_counts,
)
from segmenter.results.metadata import ArmMetadata

SKILLS = {"real": (None, 0.3), "copy": ("real", 0.6)}


@pytest.fixture
def study() -> StudyCounts:
    return paint_study(SKILLS, images=12, seeds=2)


@pytest.fixture
def folder(study: StudyCounts, tmp_path: Path) -> Path:
    write_counts(tmp_path / "counts", study)
    return tmp_path / "counts"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# kept and read


def test_counts_come_back_as_they_were(study: StudyCounts, folder: Path):
    again = read_counts(folder)
    assert (again.metadata, again.images, again.classes) == (study.metadata, study.images, CLASSES)
    for arm, before in zip(again.arms, study.arms, strict=True):
        for what in ("counts", "regions", "false_alarms"):
            np.testing.assert_array_equal(getattr(arm, what), getattr(before, what))
            assert getattr(arm, what).dtype == getattr(before, what).dtype


def test_ranks_come_back_as_they_were(study: StudyCounts, tmp_path: Path):
    ranked = rank_study(study, {"real": 0, "copy": 1})
    write_counts(tmp_path / "ranked", ranked)
    again = read_counts(tmp_path / "ranked")
    assert again.is_ranked
    assert not study.is_ranked
    for arm, before in zip(again.arms, ranked.arms, strict=True):
        assert arm.ranks is not None
        assert before.ranks is not None
        np.testing.assert_array_equal(arm.ranks, before.ranks)
        assert arm.ranks.dtype == before.ranks.dtype
    write_counts(tmp_path / "plain", study)
    assert not read_counts(tmp_path / "plain").is_ranked


def test_evaluations_without_margins_leave_their_seed_at_nothing(tmp_path: Path):
    source = ArrayScenes(paint_labels(5))
    kept, lost = ([evaluate_run(write_run(tmp_path / str(n), n), source, 0.5)] for n in (0, 1))
    lost = [replace(lost[0], margins=None)]
    metadata = ArmMetadata(name="a", title="A", seeds=(0, 1))
    arm = arm_of_evaluations(metadata, [kept, lost], ("big_rock",))
    assert arm.ranks is not None
    assert arm.ranks.dtype == np.uint16
    assert (arm.ranks[0].any(), arm.ranks[1].any()) == (True, False)
    np.testing.assert_array_equal(arm.ranks[0, :, 0, 0].sum(1), [(map_ == 4).sum() for map_ in source.labels])
    assert arm.unranked_seeds == [1]
    assert arm_of_evaluations(metadata, [lost, lost], ("big_rock",)).ranks is None
    half = arm_of_evaluations(ArmMetadata(name="a", title="A", seeds=(0,)), [[*kept, *lost]], ("big_rock",))
    assert half.ranks is None  # one fold has margins, the other has not


def test_same_counts_same_bytes(study: StudyCounts, folder: Path, tmp_path: Path):
    write_counts(tmp_path / "again", study)
    assert contents(tmp_path / "again") == contents(folder)
    assert sorted(contents(folder)) == ["copy.npz", "images.json", "real.npz", "study.json"]


def test_counts_of_arms_that_are_no_more_are_removed(study: StudyCounts, tmp_path: Path):
    (tmp_path / "dropped.npz").write_bytes(b"")
    write_counts(tmp_path, study)
    assert "dropped.npz" not in contents(tmp_path)


def test_folds_are_joined_along_images(tmp_path: Path):
    labels = paint_labels(7, rocks=1)
    folds = [ArrayScenes(labels[:4], seed=1), ArrayScenes(labels[4:], seed=2)]
    evaluations = [
        [evaluate_run(write_run(tmp_path / f"{seed}-{f}", seed), fold, 0.6) for f, fold in enumerate(folds)]
        for seed in (3, 5)
    ]
    arm = arm_of_evaluations(ArmMetadata(name="a", title="A", seeds=(3, 5)), evaluations)
    images = images_of_evaluations(evaluations[0])
    assert images.folds == (0, 0, 0, 0, 1, 1, 1)
    assert images.names == ("scene0", "scene1", "scene2", "scene3", "scene0", "scene1", "scene2")
    assert arm.counts.shape == (2, 7, 3, 3)
    assert arm.counts.dtype == np.uint16  # at most 32 * 48 pixels
    np.testing.assert_array_equal(arm.counts[1, 4:], evaluations[1][1].counts)
    of_seed = arm.regions[arm.regions["seed_index"] == 1]
    np.testing.assert_array_equal(of_seed["area_px"], [(map_ == 4).sum() for map_ in labels])
    np.testing.assert_array_equal(of_seed["image"], range(7))  # a rock in each
    hits = np.concatenate([fold.regions["hit_px"] for fold in evaluations[1]])
    np.testing.assert_array_equal(of_seed["hit_px"], hits)


def test_small_counts_take_a_byte_each(tmp_path: Path):
    scored = evaluate_run(write_run(tmp_path), ArrayScenes(paint_labels(3)), 0.5)
    small = replace(scored, counts=np.minimum(scored.counts, 255))
    assert arm_of_evaluations(ArmMetadata(name="a", title="A", seeds=(0,)), [[small]]).counts.dtype == np.uint8


def test_seeds_of_one_arm_are_of_the_same_images(tmp_path: Path):
    one, other = (
        [evaluate_run(write_run(tmp_path / str(n), n), ArrayScenes(paint_labels(3), seed=n), 0.5)] for n in (0, 1)
    )
    metadata = ArmMetadata(name="a", title="A", seeds=(0, 1))
    with pytest.raises(DataError, match="arm a: seeds 0 and 1 were scored on different images; evaluate all seeds"):
        arm_of_evaluations(metadata, [one, other])
    with pytest.raises(DataError, match="arm a: evaluations of 1 seeds; its metadata name 2"):
        arm_of_evaluations(metadata, [one])


# refused: files


def edit(name: str, change: Callable[[dict], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return apply


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:200]) and None  # type: ignore[func-returns-value]


def pickled(folder: Path) -> None:
    np.savez(folder / "copy.npz", counts=np.array([{}], object))


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


DAMAGED = {
    "no metadata": (without("study.json"), "study.json: missing; a folder of counts holds study.json, images.json"),
    "no images": (without("images.json"), "images.json: missing"),
    "no arm": (without("copy.npz"), "copy.npz: missing; study.json names the arm copy"),
    "half the metadata": (cut("study.json"), "study.json: not readable json"),
    "half an arm": (cut("copy.npz"), "copy.npz: File is not a zip file; damaged, copy or write it again"),
    "pickle": (pickled, "copy.npz: 'counts': object of shape"),
    "misspelt": (edit("study.json", lambda c: c.update(baselin="x")), "study.json: unknown key 'baselin'"),
    "a path as name": (edit("study.json", lambda c: c["arms"][1].update(name="../x")), "study.json: arms.1.name is"),
    "one name less": (edit("images.json", lambda c: c["names"].pop()), "11 names of test images; the study has 12"),
    "no keys": (edit("images.json", lambda c: c.pop("keys")), "images.json: lists names, groups, folds and keys"),
    "no classes": (edit("study.json", lambda c: c["classes"].pop("classes")), "key 'classes' is missing"),
    "no baseline": (
        edit("study.json", lambda c: c.update(baseline="reel")),
        r"counts: no arm 'reel' \(the study's baseline\) \(did you mean 'real'\?\); the arms are real, copy",
    ),
    "a seed more": (
        edit("study.json", lambda c: c["arms"][0].update(seeds=[0, 1, 2], train_minutes=[], peak_memory_mb=[])),
        r"arm real: counts are uint16 of shape \(2, 12, 3, 3\); .*\(3, 12, 3, 3\) \(seeds, images",
    ),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGED.values(), ids=DAMAGED)
def test_missing_or_damaged_counts_are_answered_in_words(damage, words: str, folder: Path):
    damage(folder)
    with pytest.raises(DataError, match=words) as problem:
        read_counts(folder)
    assert "\n" not in str(problem.value)


# refused: what does not fit together


def changed_arm(study: StudyCounts, **fields: object) -> StudyCounts:
    return replace(study, arms=(study.arms[0], replace(study.arms[1], **fields)))


def relabelled(study: StudyCounts) -> StudyCounts:
    counts = study.arms[1].counts.copy()
    counts[1, 5, 0, 0] += 1
    return changed_arm(study, counts=counts)


def other_rock(study: StudyCounts) -> StudyCounts:
    regions = study.arms[1].regions.copy()
    regions["area_px"][-1] += 1
    return changed_arm(study, regions=regions)


def far_region(study: StudyCounts) -> StudyCounts:
    alarms = np.zeros(1, SEED_REGION)
    alarms["image"] = 12
    return changed_arm(study, false_alarms=alarms)


def other_ranks(spoil: Callable[[np.ndarray], np.ndarray]) -> Callable[[StudyCounts], StudyCounts]:
    return lambda study: changed_arm(study, ranks=spoil(rank_study(study, {"copy": 1}).arms[1].ranks))  # type: ignore[arg-type]


def one_pixel_more(ranks: np.ndarray) -> np.ndarray:
    ranks[1, 3, 0, 1, 0] += 1
    return ranks


def with_metadata(study: StudyCounts, *changes: dict, **more: object) -> StudyCounts:
    arms = [
        ArmCounts(arm.metadata.model_copy(update=change), arm.counts, arm.regions, arm.false_alarms)
        for arm, change in zip(study.arms, changes, strict=True)
    ]
    return study_of(arms, "real", study.images, **more)


def lost_point(study: StudyCounts) -> StudyCounts:
    curve = {"name": "d", "title": "D", "x_title": "n", "points": [{"x": 1, "arm": "copy1"}]}
    return with_metadata(study, {}, {}, curves=[curve])


UNFIT = {
    "other labels": (relabelled, r"arm copy, seed 1, was scored on other labels than arm real \(image 5\)"),
    "other rocks": (other_rock, "arm copy, seed 1, was scored on other labels than arm real; evaluate all"),
    "image outside": (far_region, r"arm copy: false_alarms name a image outside 0\.\.11"),
    "no seed index": (
        lambda s: changed_arm(s, regions=s.arms[1].regions[["image", "area_px"]]),
        "arm copy: regions have not the fields image, class_index",
    ),
    "signed": (lambda s: changed_arm(s, counts=s.arms[1].counts.astype(np.int32)), "unsigned integers of shape"),
    "signed ranks": (
        other_ranks(lambda ranks: ranks.astype(np.int32)),
        r"arm copy: ranks are int32 of shape .* unsigned integers of shape \(2, 12, 1, 2, 96\) \(seeds, images, rare",
    ),
    "ranks of fewer images": (other_ranks(lambda ranks: ranks[:, 1:]), r"arm copy: ranks are uint32 of shape \(2, 11"),
    "other pixels": (other_ranks(one_pixel_more), "arm copy, seed 1: ranks hold other pixels than counts; write the c"),
    "twice": (lambda s: with_metadata(s, {}, {"name": "real"}), "two arms are named 'real'"),
    "own baseline": (lambda s: with_metadata(s, {}, {"baseline": "copy"}), "arm copy is its own baseline"),
    "no such baseline": (lambda s: with_metadata(s, {}, {"baseline": "c"}), r"no arm 'c' \(baseline of copy\)"),
    "minutes": (lambda s: with_metadata(s, {}, {"train_minutes": (1.0,)}), "copy: 1 train_minutes for 2 seeds"),
    "lost point": (lost_point, r"no arm 'copy1' \(a point of the curve d\) \(did you mean 'copy'\?\)"),
    "an arm less": (lambda s: replace(s, arms=s.arms[:1]), "counts of 1 arms do not belong to the 2 arms"),
    "groups": (
        lambda s: replace(s, images=ImageList(s.images.names, ("g",), None, s.images.keys)),
        "1 groups of test images; the study has 12 images",
    ),
}


@pytest.mark.parametrize(("spoil", "words"), UNFIT.values(), ids=UNFIT)
def test_counts_that_do_not_fit_together_are_refused(spoil, words: str, study: StudyCounts):
    with pytest.raises(DataError, match=words):
        spoil(study)
