"""Comparison: arms, gains and verdicts, and what is refused because it would not be a comparison."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from painted_runs import ArrayScenes, evaluate_run, paint_labels, read_json, write_run

from marsgen.core.errors import DataError, RunError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.confusion import iou_per_class
from segmenter.results.compare import CompareConfig, compare, compare_runs
from segmenter.results.gain_tables import comparison_lines, explain_verdict, gain_rows, verdict
from segmenter.training.extras import describe_extra

COPY_PASTE = {"location": "outputs/cp", "fingerprint": "c" * 16, "generator": "copy-paste", "mode": "region", "n": 50}
PIX2PIX = {"location": "outputs/synth", "fingerprint": "d" * 16, "generator": "pix2pix", "mode": "region", "n": 50}
FAST = CompareConfig(resamples=400)


@pytest.fixture(scope="module")
def source() -> ArrayScenes:
    return ArrayScenes(paint_labels(80, rocks=0.8))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, source: ArrayScenes) -> dict[str, list[Path]]:
    """Three arms of two or three seeds: real only, copy-paste that sees far more rocks, pix2pix that sees none."""
    root = tmp_path_factory.mktemp("runs")
    arms = {"real": ([], 0.5, 3), "copy": ([COPY_PASTE], 0.95, 3), "pix": ([PIX2PIX], 0.0, 2)}
    folders = {}
    for name, (extra, skill, seeds) in arms.items():
        folders[name] = [root / f"{name}{seed}" for seed in range(seeds)]
        for seed, folder in enumerate(folders[name]):
            evaluate_run(write_run(folder, seed, extra), source, skill)
    return folders


def row_of(rows: list[dict], score: str, name: str = "", arm: str = "+ copy-paste") -> dict:
    return next(r for r in rows if (r["score"], r["class"], r["arm"]) == (score, name, arm))


# arms and gains


def test_runs_become_arms_by_recipe_whatever_their_order(runs: dict[str, list[Path]]):
    shuffled = [runs["real"][2], runs["copy"][1], runs["pix"][0], runs["copy"][0], *runs["real"][:2], runs["copy"][2]]
    comparison = compare_runs(shuffled, FAST)
    assert [arm.label for arm in comparison.arms] == ["real only", "+ copy-paste", "+ pix2pix (region)"]
    assert [arm.seeds for arm in comparison.arms] == [(0, 1, 2), (0, 1, 2), (0,)]
    assert [gain.paired for gain in comparison.gains] == [True, False]


def test_gain_is_the_difference_of_means_over_seeds(runs: dict[str, list[Path]]):
    comparison = compare_runs([*runs["real"], *runs["copy"]], FAST)
    ious = [[iou_per_class(e.counts.sum(0)) for e in arm.evaluations] for arm in comparison.arms]
    before, after = np.mean(ious[0], 0), np.mean(ious[1], 0)
    row = row_of(gain_rows(comparison), "IoU", "big_rock")
    np.testing.assert_allclose([row["baseline_value"], row["value"]], [before[2], after[2]])
    np.testing.assert_allclose(row["gain"], after[2] - before[2])
    np.testing.assert_allclose(row_of(gain_rows(comparison), "mean IoU")["gain"], (after - before).mean())
    share = [np.mean([e.found().mean() for e in arm.evaluations]) for arm in comparison.arms]
    np.testing.assert_allclose(row_of(gain_rows(comparison), "regions found", "big_rock")["gain"], share[1] - share[0])
    assert row["low"] < row["gain"] < row["high"]


def test_verdicts_say_helps_hurts_and_cannot_tell(runs: dict[str, list[Path]]):
    rows = gain_rows(compare_runs([runs["real"][0], runs["copy"][0], runs["pix"][0]], FAST))
    assert row_of(rows, "IoU", "big_rock")["verdict"] == "helps"
    assert row_of(rows, "IoU", "big_rock", "+ pix2pix (region)")["verdict"] == "hurts"
    # both arms see soil and bedrock equally well where there is no rock
    lines = comparison_lines(compare_runs([runs["real"][0], runs["copy"][0]], FAST))
    assert any(line.endswith("helps") for line in lines)


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.01, 0.2, "helps"),
        (-0.2, -0.01, "hurts"),
        (-0.1, 0.2, "cannot tell"),
        (0.0, 0.2, "cannot tell"),
        (-0.2, 0.0, "cannot tell"),
        (float("nan"), float("nan"), "cannot tell"),
    ],
)
def test_an_interval_that_holds_zero_cannot_tell(low: float, high: float, word: str):
    assert verdict(low, high) == word


@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [
        (0.01, 0.2, "helps"),
        (
            -0.012,
            0.034,
            "cannot tell: anything from a loss of 1.2 to a gain of 3.4 points fits, so a gain of 2 is not ruled",
        ),
        (
            -0.012,
            0.019,
            "cannot tell: anything from a loss of 1.2 to a gain of 1.9 points fits, so a gain of 2 is ruled out",
        ),
        (float("nan"), float("nan"), "cannot tell: too few images for an interval"),
    ],
)
def test_where_it_cannot_tell_it_says_what_is_still_possible(low: float, high: float, sentence: str):
    assert explain_verdict(low, high, practical=0.02).startswith(sentence)


def test_several_arms_get_a_verdict_together(runs: dict[str, list[Path]]):
    several = compare_runs([*runs["real"], *runs["copy"], *runs["pix"]], FAST)
    rock = row_of(gain_rows(several), "IoU", "big_rock")
    assert rock["family_low"] < rock["low"] < rock["high"] < rock["family_high"]
    assert rock["p"] <= rock["family_p"] <= 2 * rock["p"] + 0.01
    assert any(note.startswith("Verdicts of all 2 arms together") for note in several.notes)
    alone = compare_runs([*runs["real"], *runs["copy"]], FAST)
    assert row_of(gain_rows(alone), "IoU", "big_rock") | {"family_low": 0, "family_high": 0, "family_p": 0} == {
        **rock,
        "family_low": 0,
        "family_high": 0,
        "family_p": 0,
    }  # the company changes nothing of what an arm shows alone
    assert not any("together" in note for note in alone.notes)


def test_arms_of_one_kind_are_told_apart_by_what_differs(tmp_path: Path, source: ArrayScenes):
    recipes = {
        "a": {},
        "b": {"extra": [PIX2PIX]},
        "c": {"extra": [PIX2PIX], "extra_fraction": 0.5},
        "d": {"extra": [{**PIX2PIX, "n": 9}]},
        "e": {"extra": [{**PIX2PIX, "recipe": "e" * 16, "drawing": {"strength": 0.6}}]},
    }
    for name, recipe in recipes.items():
        evaluate_run(write_run(tmp_path / name, **recipe), source, 0.5)
    comparison = compare_runs([tmp_path / name for name in recipes], FAST)
    assert [arm.label for arm in comparison.arms] == [
        "real only",
        "+ pix2pix (region), extra.0.n=50, extra_fraction=0.25",
        "+ pix2pix (region), extra.0.n=50, extra_fraction=0.5",
        "+ pix2pix (region), extra.0.n=9, extra_fraction=0.25",
        "+ pix2pix (region, strength 0.6)",
    ]


def test_material_made_another_way_is_another_arm(tmp_path: Path, source: ArrayScenes):
    for seed, recipe in enumerate(("one way", "one way", "another way")):
        run = write_run(tmp_path / f"{seed}", seed=seed, extra=[{**PIX2PIX, "recipe": recipe}])
        evaluate_run(run, source, 0.5)
    comparison = compare_runs([tmp_path / str(seed) for seed in range(3)], FAST)
    assert [len(arm.runs) for arm in comparison.arms] == [2, 1]


def test_an_extra_folder_that_names_no_generator_gives_its_own_name(tmp_path: Path, source: ArrayScenes):
    evaluate_run(write_run(tmp_path / "a"), source, 0.5)
    evaluate_run(write_run(tmp_path / "b", extra=[{"location": "data/more", "fingerprint": "e" * 16}]), source, 0.5)
    assert compare_runs([tmp_path / "a", tmp_path / "b"], FAST).arms[1].label == "+ more"


def test_a_synthesized_folder_names_its_generator_to_the_run(tmp_path: Path):
    head = {"generator": "pix2pix", "mode": "scene", "n": 7, "trained_on": [], "seed": 3}
    (tmp_path / "synth.json").write_text(json.dumps(head))
    extra = describe_extra(ArrayScenes(paint_labels(2), location=str(tmp_path)))
    assert {key: extra.get(key) for key in ("generator", "mode", "n", "seed")} == {
        "generator": "pix2pix",
        "mode": "scene",
        "n": 7,
        "seed": None,
    }


# notes


def test_one_seed_is_said_to_know_nothing_of_training_again(runs: dict[str, list[Path]]):
    one = compare_runs([runs["real"][0], runs["copy"][0]], FAST)
    assert any("do not know what training again with another seed would change" in note for note in one.notes)
    three = compare_runs([*runs["real"], *runs["copy"]], FAST)
    assert not any("do not know" in note for note in three.notes)
    assert any(note.startswith("3 training seeds per arm, paired by seed;") for note in three.notes)


def test_a_class_in_few_images_is_named(tmp_path: Path):
    source = ArrayScenes(paint_labels(40, rocks=0.3))
    for name, extra in (("a", []), ("b", [COPY_PASTE])):
        evaluate_run(write_run(tmp_path / name, extra=extra), source, 0.5)
    showing = sum((map_ == 4).any() for map_ in source.labels)
    assert 0 < showing < 30
    notes = compare_runs([tmp_path / "a", tmp_path / "b"], FAST).notes
    assert any(f"Few images show big_rock ({showing})" in note for note in notes)


def test_groups_are_resampled_where_the_data_have_them(tmp_path: Path):
    source = ArrayScenes(paint_labels(40))
    source.groups = [f"stop{i // 4}" for i in range(40)]
    for name, extra in (("a", []), ("b", [COPY_PASTE])):
        evaluate_run(write_run(tmp_path / name, extra=extra), source, 0.5)
    assert (
        "10 groups of images of painted.npz resampled 400 times"
        in compare_runs([tmp_path / "a", tmp_path / "b"], FAST).notes[0]
    )


# files


def test_files_hold_what_was_printed(runs: dict[str, list[Path]], tmp_path: Path):
    folders = [*runs["real"], *runs["copy"], *runs["pix"]]
    lines = compare(folders, FAST, tmp_path / "out")
    content = read_json(tmp_path / "out" / "compare.json")
    assert [arm["seeds"] for arm in content["arms"]] == [[0, 1, 2], [0, 1, 2], [0, 1]]
    rock = row_of(content["gains"], "IoU", "big_rock")
    assert any(f"{100 * rock['gain']:+.1f}" in line and "helps" in line for line in lines)
    with (tmp_path / "out" / "compare.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(content["gains"]) == 2 * (3 + 1 + 1)
    assert float(row_of(rows, "IoU", "big_rock")["low"]) == pytest.approx(rock["low"])
    table = (tmp_path / "out" / "compare.md").read_text(encoding="utf-8").splitlines()
    assert "| score | real only | + copy-paste | + pix2pix (region) |" in table
    assert any(line.startswith("| + copy-paste | IoU big_rock | +") and line.endswith("| helps |") for line in table)


def test_the_same_command_again_writes_the_same_bytes(runs: dict[str, list[Path]], tmp_path: Path):
    folders = [runs["real"][0], runs["copy"][0]]
    contents = []
    for _ in range(2):
        compare(folders, FAST, tmp_path / "out")
        contents.append({p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()})
    assert contents[0] == contents[1]


def test_markdown_cells_keep_their_bars(tmp_path: Path, source: ArrayScenes):
    classes = ClassSet(("soil", "a|b", "big_rock"), (1, 2, 4), ((0, 0, 0),) * 3, 0, ("big_rock",))
    renamed = ArrayScenes(source.labels, classes)
    for name, extra in (("a", []), ("b", [COPY_PASTE])):
        evaluate_run(write_run(tmp_path / name, extra=extra), renamed, 0.5)
    compare([tmp_path / "a", tmp_path / "b"], FAST, tmp_path / "out")
    assert "IoU a\\|b" in (tmp_path / "out" / "compare.md").read_text(encoding="utf-8")


# refusals


def test_a_single_run_or_a_single_arm_is_no_comparison(runs: dict[str, list[Path]]):
    with pytest.raises(RunError, match="one run was named"):
        compare_runs(runs["real"][:1], FAST)
    with pytest.raises(RunError, match=r"all 3 runs are of one recipe \(real only\)"):
        compare_runs(runs["real"], FAST)


def test_a_run_named_twice_is_refused(runs: dict[str, list[Path]]):
    with pytest.raises(RunError, match="real0 is named twice"):
        compare_runs([runs["real"][0], runs["copy"][0], runs["real"][0]], FAST)


def test_the_same_training_in_two_folders_is_refused(runs: dict[str, list[Path]], tmp_path: Path, source: ArrayScenes):
    evaluate_run(write_run(tmp_path / "again"), source, 0.5)
    with pytest.raises(RunError, match=r"real0 and .*again are one recipe with seed 0 twice"):
        compare_runs([runs["real"][0], runs["copy"][0], tmp_path / "again"], FAST)


def test_a_run_without_evaluation_is_told_the_command(runs: dict[str, list[Path]], tmp_path: Path):
    write_run(tmp_path / "new", extra=[COPY_PASTE])
    words = r"new has no finished evaluation; run `segmenter evaluate .*new --data painted\.npz`"
    with pytest.raises(RunError, match=words):
        compare_runs([runs["real"][0], tmp_path / "new"], FAST)


def test_evaluations_on_other_data_are_refused(runs: dict[str, list[Path]], tmp_path: Path):
    other = ArrayScenes(paint_labels(6, seed=9), location="other.npz", seed=9)
    evaluate_run(write_run(tmp_path / "new", extra=[COPY_PASTE]), other, 0.5)
    with pytest.raises(DataError, match=r"real0 was evaluated on painted-.*new on other-.*not the same test scenes"):
        compare_runs([runs["real"][0], tmp_path / "new"], FAST)


def test_evaluations_with_other_settings_are_refused(runs: dict[str, list[Path]], tmp_path: Path, source: ArrayScenes):
    evaluate_run(write_run(tmp_path / "new", extra=[COPY_PASTE]), source, 0.5, found_fraction=0.9)
    with pytest.raises(DataError, match="not the same test scenes or settings"):
        compare_runs([runs["real"][0], tmp_path / "new"], FAST)


def test_several_shared_evaluations_need_a_choice(tmp_path: Path, source: ArrayScenes):
    other = ArrayScenes(paint_labels(6, seed=9), location="other.npz", seed=9)
    for name, extra in (("a", []), ("b", [COPY_PASTE])):
        run = write_run(tmp_path / name, extra=extra)
        evaluate_run(run, source, 0.5)
        evaluate_run(run, other, 0.5)
    folders = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(
        RunError, match=r"share 2 evaluations \(other-.*, painted-.*\); choose one with --set data=NAME"
    ):
        compare_runs(folders, FAST)
    chosen = compare_runs(folders, CompareConfig(resamples=400, data="other.npz"))
    assert chosen.arms[0].evaluations[0].record["images"] == 6
    with pytest.raises(RunError, match=r"no finished evaluation on elsewhere"):
        compare_runs(folders, CompareConfig(resamples=400, data="elsewhere"))


def test_different_classes_are_refused(runs: dict[str, list[Path]], tmp_path: Path, source: ArrayScenes):
    renamed = ArrayScenes(
        source.labels, ClassSet(("soil", "ice", "big_rock"), (1, 2, 4), ((0, 0, 0),) * 3, 0, ("big_rock",))
    )
    evaluate_run(write_run(tmp_path / "new", extra=[COPY_PASTE]), renamed, 0.5)
    with pytest.raises(DataError, match=r"new tells apart soil, ice, big_rock; .*real0 tells apart soil, bedrock"):
        compare_runs([runs["real"][0], tmp_path / "new"], FAST)


def test_more_training_steps_are_refused_unless_allowed(
    runs: dict[str, list[Path]], tmp_path: Path, source: ArrayScenes
):
    evaluate_run(write_run(tmp_path / "long", extra=[COPY_PASTE], steps=160), source, 0.9)
    folders = [runs["real"][0], tmp_path / "long"]
    with pytest.raises(RunError, match=r"long was trained for 160 steps and .*real0 for 100: more training alone"):
        compare_runs(folders, FAST)
    assert len(compare_runs(folders, CompareConfig(resamples=400, allow_different_steps=True)).arms) == 2


def test_different_test_parts_are_refused(tmp_path: Path, source: ArrayScenes):
    from painted_runs import keys_of

    keys, data = keys_of(source), {"location": "painted.npz", "fingerprint": source.fingerprint()}
    for name, extra, test in (("a", [], keys[:40]), ("b", [COPY_PASTE], keys[20:60])):
        evaluate_run(write_run(tmp_path / name, extra=extra, data=data, test_keys=test), source, 0.5)
    with pytest.raises(DataError, match=r"scored on different scenes: their test parts of painted\.npz differ"):
        compare_runs([tmp_path / "a", tmp_path / "b"], FAST)


def test_a_run_of_an_earlier_version_belongs_to_the_arm_of_its_recipe(tmp_path: Path, source: ArrayScenes):
    folders = []
    for seed, extra in ((0, []), (1, []), (0, [COPY_PASTE]), (1, [COPY_PASTE])):
        run = write_run(tmp_path / f"{seed}-{len(extra)}", seed, extra)
        evaluate_run(run, source, rock_skill=0.5)
        folders.append(run.folder)
    config = yaml.safe_load((folders[0] / "config.yaml").read_text())
    del config["config"]["calibrate"]  # as if it had not been thought of
    (folders[0] / "config.yaml").write_text(yaml.safe_dump(config))
    assert [arm.seeds for arm in compare_runs(folders, FAST).arms] == [(0, 1), (0, 1)]
