"""A study's numbers from its raw counts: counted by hand, held against other code, and said in words."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from painted_runs import CLASSES
from painted_studies import ROCK, paint_study, study_of

from marsgen.scenes.confusion import iou_per_class
from segmenter.results.counts import SEED_REGION, ArmCounts, StudyCounts
from segmenter.results.gains.gains import COMMON, OWN, recommend_dose
from segmenter.results.metadata import ArmMetadata
from segmenter.results.statistics.bootstrap import gain_intervals, resample_arms
from segmenter.results.summary import StudyResults, summarise
from segmenter.results.tables import (
    curve_table,
    gain_tables,
    markdown_lines,
    result_lines,
    score_table,
    verdict_text,
    write_results,
)
from segmenter.results.verdict import Verdict, decide, explain

SKILLS = {
    "real": (None, 0.2),
    "copy-1": ("real", 0.3),
    "copy-2": ("real", 0.75),
    "copy-4": ("real", 0.76),
    "blind": ("real", 0.0),
    "less": (None, 0.1),
    "less-copy": ("less", 0.5),
}


def curve(*points: tuple[float, str], name: str = "doses") -> dict:
    listed = [{"x": x, "arm": arm} for x, arm in points]
    return {"name": name, "title": f"the {name}", "x_title": "scenes", "points": listed}


CURVES = [
    curve((4, "copy-4"), (0, "real"), (2, "copy-2"), (1, "copy-1")),
    curve((1, "less-copy"), (2, "copy-2"), name="shares"),
    curve((1, "blind"), name="harm"),
]


@pytest.fixture(scope="module")
def study() -> StudyCounts:
    return paint_study(SKILLS, images=100, seeds=5, curves=CURVES, statistics={"resamples": 2000})


@pytest.fixture(scope="module")
def results(study: StudyCounts) -> StudyResults:
    return summarise(study)


def pick(rows: Sequence[Any], **wanted: object) -> Any:
    (row,) = (row for row in rows if all(getattr(row, key) == value for key, value in wanted.items()))
    return row


# by hand


def tiny_arm(name: str, hits: tuple[int, int], baseline: str | None) -> ArmCounts:
    """Two images of 100 px of soil, each with a rock: 20 px far away, 300 px near; 10 px of soil are called rock."""
    counts = np.zeros((1, 2, 3, 3), np.uint16)
    counts[0, :, 0, 0], counts[0, :, 0, ROCK] = 90, 10
    regions = np.zeros(2, SEED_REGION)
    for image, (area, hit, foot) in enumerate(zip((20, 300), hits, (5, 60), strict=True)):
        counts[0, image, ROCK, ROCK], counts[0, image, ROCK, 0] = hit, area - hit
        regions[image] = (image, ROCK, area, hit, foot, 0, 0, 0)
    alarms = np.zeros(3, SEED_REGION)
    alarms["class_index"] = ROCK
    return ArmCounts(ArmMetadata(name=name, title=name, baseline=baseline, seeds=(0,)), counts, regions, alarms)


@pytest.fixture(scope="module")
def tiny() -> StudyResults:
    return summarise(study_of([tiny_arm("a", (4, 75), None), tiny_arm("b", (5, 255), "a")], "a"))


def test_scores_and_gains_counted_by_hand(tiny: StudyResults):
    rock = {"score": "IoU", "class_name": "big_rock"}
    before, after = 79 / (320 + 20), 260 / (320 + 20)
    np.testing.assert_allclose(pick(tiny.scores, arm="a", **rock).value, before)
    gain = pick(tiny.gains, arm="b", **rock)
    np.testing.assert_allclose([gain.baseline_value, gain.value], [before, after])
    np.testing.assert_allclose(gain.gain, after - before)
    soil = [180 / (200 + 241), 180 / (200 + 60)]
    mean = pick(tiny.gains, arm="b", score="mean IoU")
    np.testing.assert_allclose(mean.baseline_value, (before + soil[0]) / 2)  # bedrock is nowhere
    np.testing.assert_allclose(mean.value, (after + soil[1]) / 2)
    assert not [row for row in tiny.scores if row.class_name == "bedrock"]


def test_rare_shares_and_false_alarms_counted_by_hand(tiny: StudyResults):
    values = {row.score: row.value for row in tiny.scores if (row.arm, row.class_name) == ("b", "big_rock")}
    np.testing.assert_allclose(values["precision"], 260 / 280)
    np.testing.assert_allclose(values["recall"], 260 / 320)
    assert values["false alarms"] == 3
    assert values["regions found"] == 1  # 5 of 20 px is just enough
    assert pick(tiny.scores, arm="a", score="regions found").value == 0.5  # 4 of 20 px is not


def test_rocks_found_by_size_and_row_counted_by_hand(tiny: StudyResults):
    rows = [row for row in tiny.subgroups if row.arm == "a"]
    assert [(r.by, r.bin, r.regions, r.found, r.share) for r in rows] == [
        ("size", "16 to 63 px", 1, 0, 0),
        ("size", "256 to 1023 px", 1, 1, 1),
        ("row", "upper (foot in rows 5 to 22)", 1, 0, 0),
        ("row", "lower (foot in rows 42 to 60)", 1, 1, 1),
    ]
    assert pick(tiny.subgroups, arm="b", bin="16 to 63 px").gain == 1
    assert np.isnan(rows[0].gain)  # the baseline gains nothing over itself


# against other code


def test_gains_are_those_of_the_arms_own_baselines(study: StudyCounts, results: StudyResults):
    def rock_iou(name: str) -> float:
        return np.mean([iou_per_class(counts.sum(0))[ROCK] for counts in study.arm(name).counts])

    own = {row.arm: row for row in results.gains_in("IoU", "big_rock")}
    assert list(own) == ["copy-1", "copy-2", "copy-4", "blind", "less-copy"]
    np.testing.assert_allclose(own["less-copy"].gain, rock_iou("less-copy") - rock_iou("less"))
    common = {row.arm: row for row in results.gains_in("IoU", "big_rock", COMMON)}
    assert list(common) == [name for name in SKILLS if name != "real"]
    np.testing.assert_allclose(common["less-copy"].gain, rock_iou("less-copy") - rock_iou("real"))


def test_intervals_alone_are_those_of_a_comparison_and_corrected_ones_are_wider(study, results):
    sums = [study.arm(name).unit_sums(0.25, None) for name in ("less", "less-copy")]
    one, other = resample_arms(sums, 2000, 0)
    alone = gain_intervals(one, other, paired=True, confidence=0.95, seed=0)
    row = pick(results.gains, arm="less-copy", score="IoU", against=OWN, class_name="big_rock")
    np.testing.assert_allclose([row.low, row.high], [alone.low[ROCK], alone.high[ROCK]])
    wide = pick(results.gains, arm="copy-1", score="IoU", against=OWN, class_name="big_rock")
    assert wide.simultaneous_low < wide.low < wide.gain < wide.high < wide.simultaneous_high
    assert wide.p <= wide.adjusted_p


def test_gains_over_one_baseline_are_listed_once():
    results = summarise(paint_study({"real": (None, 0.2), "a": ("real", 0.4)}, images=30))
    assert {row.against for row in results.gains} == {OWN}
    assert [table.title for table in gain_tables(results)] == ["Gains over real, in percentage points"]


def test_groups_are_resampled_whole_and_change_no_score(study: StudyCounts, results: StudyResults):
    groups = tuple(f"g{i % 20}" for i in range(100))
    grouped = summarise(replace(study, images=replace(study.images, groups=groups)))
    key = ("arm", "score", "class_name", "value")
    assert [[getattr(r, k) for k in key] for r in grouped.scores] == [
        [pytest.approx(getattr(r, k)) if k == "value" else getattr(r, k) for k in key] for r in results.scores
    ]
    assert [r.share for r in grouped.subgroups] == [pytest.approx(r.share) for r in results.subgroups]
    assert [r.low for r in grouped.subgroups] != [r.low for r in results.subgroups]
    assert "20 groups of the 100 images" in " ".join(grouped.limitations)


def test_share_of_bins_adds_up_to_all_regions(study: StudyCounts, results: StudyResults):
    for by in ("size", "row"):
        rows = [row for row in results.subgroups if (row.arm, row.by) == ("copy-2", by)]
        found, there = sum(row.found for row in rows), sum(row.regions for row in rows)
        assert there == np.count_nonzero(study.arm("copy-2").regions["seed_index"] == 0)
        value = pick(results.scores, arm="copy-2", score="regions found").value
        np.testing.assert_allclose(found / there, value)


def test_a_bin_that_holds_every_rock_has_the_interval_of_all_rocks(study: StudyCounts):
    arms = []
    for arm in study.arms[:2]:
        regions = arm.regions.copy()
        regions["area_px"], regions["hit_px"] = 100, np.where(arm.found(0.25), 100, 0)
        arms.append(replace(arm, regions=regions))
    groups = tuple(f"g{i * i % 17}" for i in range(100))
    results = summarise(study_of(arms, "real", replace(study.images, groups=groups)))
    for name in ("real", "copy-1"):
        one = pick(results.subgroups, arm=name, by="size")
        every = pick(results.scores, arm=name, score="regions found")
        assert one.low < one.share < one.high
        assert [one.share, one.low, one.high] == pytest.approx([every.value, every.low, every.high])


# words


def test_an_open_verdict_says_what_it_leaves_possible(results: StudyResults):
    readings = {row.verdict: row.reading for row in results.gains}
    assert readings["helps"] == "helps"
    assert readings["cannot tell"].startswith("cannot tell: anything from -")
    assert "so a gain of 2 is " in readings["cannot tell"]


def test_a_gain_that_only_its_own_interval_shows_is_marked(study: StudyCounts, results: StudyResults):
    row = pick(results.gains, arm="copy-1", score="IoU", class_name="big_rock", against=OWN)
    cases = {
        (0.01, 0.09): ("cannot tell*", True),
        (-0.09, -0.01): ("cannot tell*", True),
        (-0.01, 0.09): ("cannot tell", False),
    }
    for (low, high), (words, marked) in cases.items():
        changed = replace(row, low=low, high=high, verdict=Verdict.CANNOT_TELL)
        assert changed.only_alone == marked
        assert verdict_text(changed) == words
    assert not replace(row, low=0.01, high=0.09, verdict=Verdict.HELPS).only_alone


def test_verdicts_are_about_the_corrected_interval(study: StudyCounts, results: StudyResults):
    for row in results.gains:
        seeds, size = len(study.arm(row.arm).metadata.seeds), study.metadata.statistics.practical_gain
        corrected = (row.simultaneous_low, row.simultaneous_high)
        assert row.verdict == decide(row.gain, *corrected, seeds=seeds, practical_gain=size)
        assert row.reading == explain(row.verdict, *corrected, size)


def test_smallest_dose_as_good_as_the_best_is_recommended(results: StudyResults):
    chosen = pick(results.recommendations, curve="doses")
    assert (chosen.x, chosen.arm) == (2, "copy-2")
    assert chosen.words.startswith("2. It is the smallest dose whose gain in IoU big_rock")
    rows = [r for r in results.curves if (r.curve, r.score, r.class_name) == ("doses", "IoU", "big_rock")]
    assert [(r.x, r.recommended) for r in rows] == [(0, False), (1, False), (2, True), (4, False)]
    assert (rows[0].gain, rows[0].verdict) == (0, "baseline")
    assert rows[2].gain == pick(results.gains_in("IoU", "big_rock"), arm="copy-2").gain
    assert [row[0].text for row in curve_table(results, "doses").rows] == ["0", "1", "2 (recommended)", "4"]


def test_where_no_dose_is_recommended_it_is_said_why(results: StudyResults):
    assert "baselines of their own" in pick(results.recommendations, curve="shares", x=None).words
    assert "the verdict on the best gain in IoU big_rock, " in pick(results.recommendations, curve="harm", x=None).words
    assert not any(row.recommended for row in results.curves if row.curve != "doses")


def test_no_dose_is_recommended_where_nothing_of_the_class_was_scored(study: StudyCounts):
    recommended = recommend_dose(study.metadata.curves[0], study, [], {})
    assert (recommended.x, recommended.words) == (None, "No dose is recommended: nothing of big_rock was scored.")


def test_a_recommended_dose_without_verdict_of_its_own_is_told(study: StudyCounts, results: StudyResults):
    scores = dict.fromkeys(SKILLS, resample_arms([study.arm("copy-2").unit_sums(0.25, None)], 200, 0)[0])
    recommended = recommend_dose(study.metadata.curves[0], study, results.gains, scores)
    assert (recommended.x, recommended.arm) == (0, "real")
    assert recommended.words.endswith("Its own verdict is not helps.")


def test_limitations_are_told(study: StudyCounts):
    power = {"seeds": 3, "arms": 4, "confidence": 0.95, "power": 0.8, "smallest_gain": {"IoU big_rock": 0.031}}
    power["with_other_seeds"] = {2: {"IoU big_rock": 0.5}}
    images = replace(study.images, folds=(0,) * 50 + (1,) * 50)
    metadata = study.metadata.model_copy(update={"test": study.metadata.test.model_copy(update={"part": "val"})})
    text = " ".join(summarise(StudyCounts(metadata, images, study.arms)).limitations)
    assert "these scenes chose the checkpoint" in text
    assert "2 folds: each image is scored by a network that did not train on it" in text
    assert "5 training seeds per arm" in text
    assert "all arms with one baseline, 1 or 4 arms here" in text
    assert '"cannot tell" is no proof of no gain' in text
    text = " ".join(summarise(study_of(study.arms, "real", power=power)).limitations)
    assert "detected in 80% of such studies" in text
    assert "with 3 seeds 3.1 points of IoU big_rock, with 2 seeds 50.0 points of IoU big_rock, at 95%" in text
    assert "corrected for 4 arms" in text


def test_without_rare_classes_the_smallest_is_the_primary_class(study: StudyCounts):
    classes = {**CLASSES.to_dict(), "rare": []}
    assert study.primary_class == "big_rock"
    assert study_of(study.arms, "real", classes=classes).primary_class == "big_rock"
    few = {**classes, "rare": ["bedrock"]}
    assert study_of(study.arms, "real", classes=few).primary_class == "bedrock"


# files


def as_number(cell: str) -> object:
    try:
        return float(cell)
    except ValueError:
        return {"": None, "True": True, "False": False}.get(cell, cell)


def test_every_csv_says_the_same_as_the_json(results: StudyResults, tmp_path: Path):
    write_results(results, tmp_path)
    content = json.loads((tmp_path / "results.json").read_text())
    for name in ("scores", "gains", "curves", "subgroups", "costs"):
        with (tmp_path / f"{name}.csv").open() as file:
            rows = [{key: as_number(cell) for key, cell in row.items()} for row in csv.DictReader(file)]
        # a score without a class has none in either
        assert rows == [{k: None if v == "" else v for k, v in row.items()} for row in content[name]]
        assert len(rows) > 5
    assert content["limitations"] == list(results.limitations)


def test_same_study_same_bytes(study: StudyCounts, results: StudyResults, tmp_path: Path):
    write_results(results, tmp_path / "a")
    write_results(summarise(study), tmp_path / "b")
    written = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert written == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}


def test_without_curves_and_costs_there_is_no_file_of_them(tiny: StudyResults, tmp_path: Path):
    write_results(tiny, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "gains.csv",
        "results.json",
        "results.md",
        "scores.csv",
        "subgroups.csv",
    ]


def test_tables_have_a_row_per_arm(results: StudyResults):
    assert [row[0].text for row in score_table(results).rows] == [name.replace("-", " ") for name in SKILLS]
    lines = markdown_lines(results)
    tables = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in tables[: len(SKILLS) + 2]}) == 1
    assert any(line.startswith("| less copy over less |") for line in lines)
    assert "Recommended: 2." in "\n".join(result_lines(results))


def test_costs_add_up_to_the_first_network(results: StudyResults):
    row = pick(results.costs, arm="copy-1")
    assert (row.train_minutes, row.set_minutes, row.first_network_minutes) == (4, 1.5, 5.5)
    assert np.isnan(row.generator_minutes)
    assert len(results.costs) == len(SKILLS)
