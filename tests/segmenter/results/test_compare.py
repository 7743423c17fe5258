"""Comparison: arms, gains and verdicts, and what is refused because it would not be a comparison."""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from painted_runs import ArrayScenes, evaluate_run, paint_labels, predictor, read_json, with_margins, write_run
from painted_studies import paint_study

from marsgen.core.errors import DataError, RunError
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.confusion import iou_per_class
from segmenter.evaluation.config import EvaluateConfig
from segmenter.evaluation.evaluate import choose_scenes, evaluate
from segmenter.results.arms import Arm, count_arms, file_names
from segmenter.results.compare import CompareConfig, compare, open_arms
from segmenter.results.counts import StudyCounts, write_counts
from segmenter.results.gains.gains import Gain
from segmenter.results.report import report_study
from segmenter.results.summary import StudyResults, summarise
from segmenter.results.tables import escape_markdown, markdown_lines
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


def arms_of(folders: Sequence[Path], config: CompareConfig = FAST) -> list[Arm]:
    return open_arms(folders, config)


def results_of(folders: Sequence[Path]) -> StudyResults:
    return summarise(count_arms(arms_of(folders), FAST))


def gain_of(results: StudyResults, score: str, name: str = "", arm: str = "+ copy-paste") -> Gain:
    return next(row for row in results.gains if (row.score, row.class_name, row.title) == (score, name, arm))


def row_of(rows: list[dict], score: str, name: str = "", arm: str = "+ copy-paste") -> dict:
    return next(r for r in rows if (r["score"], r["class_name"] or "", r["title"]) == (score, name, arm))


# arms and gains


def test_runs_become_arms_by_recipe_whatever_their_order(runs: dict[str, list[Path]]):
    shuffled = [runs["real"][2], runs["copy"][1], runs["pix"][0], runs["copy"][0], *runs["real"][:2], runs["copy"][2]]
    arms = arms_of(shuffled)
    assert [arm.label for arm in arms] == ["real only", "+ copy-paste", "+ pix2pix (region)"]
    assert [arm.seeds for arm in arms] == [(0, 1, 2), (0, 1, 2), (0,)]
    study = count_arms(arms, FAST)
    assert [study.is_paired("real-only", arm.name) for arm in study.metadata.arms[1:]] == [True, False]


def test_runs_become_a_study_in_memory(runs: dict[str, list[Path]]):
    arms = arms_of([*runs["real"], *runs["copy"], *runs["pix"]])
    study = count_arms(arms, FAST)
    assert [(arm.name, arm.title, arm.baseline, arm.synthetic) for arm in study.metadata.arms] == [
        ("real-only", "real only", None, False),
        ("copy-paste", "+ copy-paste", "real-only", True),
        ("pix2pix-region", "+ pix2pix (region)", "real-only", True),
    ]
    record = arms[0].evaluations[0].record
    assert (study.metadata.test.part, study.metadata.test.images) == (record["part"], 80)
    assert study.metadata.scoring.found_fraction == record["settings"]["found_fraction"]
    for arm, counted in zip(arms, study.arms, strict=True):
        np.testing.assert_array_equal(counted.counts, [e.counts for e in arm.evaluations])
        found = [e.found().sum() for e in arm.evaluations]
        of_found = counted.regions["seed_index"][counted.found(0.25)]
        np.testing.assert_array_equal(np.bincount(of_found, minlength=len(found)), found)


def test_labels_become_file_names_that_differ():
    assert file_names(["+ a (b, n=1)", "a b n 1", "+ a/b, n=1", "+"]) == ["a-b-n-1", "a-b-n-1-2", "a-b-n-1-3", "arm"]


def test_gain_is_the_difference_of_means_over_seeds(runs: dict[str, list[Path]]):
    folders = [*runs["real"], *runs["copy"]]
    arms, results = arms_of(folders), results_of(folders)
    ious = [[iou_per_class(e.counts.sum(0)) for e in arm.evaluations] for arm in arms]
    before, after = np.mean(ious[0], 0), np.mean(ious[1], 0)
    row = gain_of(results, "IoU", "big_rock")
    np.testing.assert_allclose([row.baseline_value, row.value], [before[2], after[2]])
    np.testing.assert_allclose(row.gain, after[2] - before[2])
    np.testing.assert_allclose(gain_of(results, "mean IoU").gain, (after - before).mean())
    share = [np.mean([e.found().mean() for e in arm.evaluations]) for arm in arms]
    np.testing.assert_allclose(gain_of(results, "regions found", "big_rock").gain, share[1] - share[0])
    assert row.low < row.gain < row.high


def test_verdicts_say_helps_and_hurts(runs: dict[str, list[Path]]):
    helped = gain_of(results_of([*runs["real"], *runs["copy"]]), "IoU", "big_rock")
    hurt = gain_of(results_of([*runs["copy"], *runs["real"]]), "IoU", "big_rock", "real only")
    assert (helped.verdict, hurt.verdict) == ("helps", "hurts")
    assert hurt.gain == -helped.gain


def test_one_seed_gives_intervals_and_no_verdict(runs: dict[str, list[Path]]):
    for folders in ([runs["real"][0], *runs["copy"]], [*runs["real"], runs["copy"][0]]):
        one = results_of(folders)
        assert {row.verdict for row in one.gains} == {"no verdict"}
        assert gain_of(one, "IoU", "big_rock").low > 0
        assert gain_of(one, "IoU", "big_rock").reading == "one seed: no verdict"


def test_several_arms_are_corrected_together(runs: dict[str, list[Path]]):
    rock = gain_of(results_of([*runs["real"], *runs["copy"], *runs["pix"]]), "IoU", "big_rock")
    assert rock.simultaneous_low < rock.low < rock.high < rock.simultaneous_high
    assert rock.p <= rock.adjusted_p <= 2 * rock.p + 0.01
    alone = gain_of(results_of([*runs["real"], *runs["copy"]]), "IoU", "big_rock")
    assert (alone.gain, alone.low, alone.high, alone.p) == (rock.gain, rock.low, rock.high, rock.p)
    assert (alone.simultaneous_low, alone.simultaneous_high) == (alone.low, alone.high)


def test_runs_and_a_studys_counts_give_the_same_words_and_numbers(runs: dict[str, list[Path]], tmp_path: Path):
    folders = [*runs["real"], *runs["copy"], *runs["pix"]]
    lines = compare(folders, FAST, tmp_path / "compared")
    write_counts(tmp_path / "study" / "counts", count_arms(arms_of(folders), FAST))
    study_lines, _ = report_study(tmp_path / "study")
    compared, reported = tmp_path / "compared", tmp_path / "study" / "results"
    for name in ("results.json", "results.md", "scores.csv", "gains.csv", "subgroups.csv"):
        assert (compared / name).read_bytes() == (reported / name).read_bytes()
    assert set(study_lines) < set(lines)
    assert len({row["verdict"] for row in read_json(reported / "results.json")["gains"]}) > 1


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
    assert [arm.label for arm in arms_of([tmp_path / name for name in recipes])] == [
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
    assert [len(arm.runs) for arm in arms_of([tmp_path / str(seed) for seed in range(3)])] == [2, 1]


def test_an_extra_folder_that_names_no_generator_gives_its_own_name(tmp_path: Path, source: ArrayScenes):
    evaluate_run(write_run(tmp_path / "a"), source, 0.5)
    evaluate_run(write_run(tmp_path / "b", extra=[{"location": "data/more", "fingerprint": "e" * 16}]), source, 0.5)
    assert arms_of([tmp_path / "a", tmp_path / "b"])[1].label == "+ more"


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


def test_limitations_say_what_one_seed_does_not_cover(runs: dict[str, list[Path]]):
    one = " ".join(results_of([runs["real"][0], runs["copy"][0]]).limitations)
    assert "do not cover what training again would change, so there is no verdict" in one
    three = " ".join(results_of([*runs["real"], *runs["copy"]]).limitations)
    assert "do not cover" not in three
    assert "3 training seeds per arm, paired by seed: what another seed" in three
    mixed = " ".join(results_of([*runs["real"], *runs["copy"], runs["pix"][0]]).limitations)
    assert "1 to 3 training seeds per arm, paired by seed where two arms have the same" in mixed
    assert "The intervals of arms with one seed do not cover that, and there is no verdict on them" in mixed


def test_an_early_stop_is_told(runs: dict[str, list[Path]], tmp_path: Path, source: ArrayScenes):
    evaluate_run(write_run(tmp_path / "short", extra=[COPY_PASTE]), source, 0.5)
    done = json.loads((tmp_path / "short" / "DONE").read_text())
    (tmp_path / "short" / "DONE").write_text(json.dumps({**done, "stopped_early": True}))
    lines = compare([runs["real"][0], tmp_path / "short"], FAST, tmp_path / "out")
    assert lines[-1] == "Stopped early, so trained for fewer steps: short."


def test_a_class_in_few_images_is_named(tmp_path: Path):
    source = ArrayScenes(paint_labels(40, rocks=0.3))
    for name, extra in (("a", []), ("b", [COPY_PASTE])):
        evaluate_run(write_run(tmp_path / name, extra=extra), source, 0.5)
    showing = sum((map_ == 4).any() for map_ in source.labels)
    assert 0 < showing < 30
    told = results_of([tmp_path / "a", tmp_path / "b"]).limitations
    assert any(f"Few images show big_rock ({showing})" in sentence for sentence in told)


def test_groups_are_resampled_where_the_data_have_them(tmp_path: Path):
    source = ArrayScenes(paint_labels(40))
    source.groups = [f"stop{i // 4}" for i in range(40)]
    for name, extra in (("a", []), ("b", [COPY_PASTE])):
        evaluate_run(write_run(tmp_path / name, extra=extra), source, 0.5)
    told = " ".join(results_of([tmp_path / "a", tmp_path / "b"]).limitations)
    assert "10 groups of the 40 images are resampled 400 times" in told


def test_runs_with_and_without_margins_are_told_in_one_line(tmp_path: Path, source: ArrayScenes):
    for name, extra in (("a", []), ("b", [COPY_PASTE])):
        evaluate_run(write_run(tmp_path / name, extra=extra), source, 0.5)
    lines = compare([tmp_path / "a", tmp_path / "b"], FAST, tmp_path / "both")
    assert any(line.startswith("average precision big_rock") for line in lines)
    assert any(line.startswith("IoU at matched fraction big_rock") for line in lines)
    (margins,) = (tmp_path / "b").glob("evaluations/*/margins.npy")
    margins.unlink()
    lines = compare([tmp_path / "a", tmp_path / "b"], FAST, tmp_path / "one")
    assert not any(line.startswith(("average precision", "IoU at matched", "secondary")) for line in lines)
    (told,) = (line for line in lines if "secondary" in line)
    assert told.startswith("No secondary scores: the evaluations of copy-paste (seed 0) kept no margins, those of")


# files


def test_files_hold_what_was_printed(runs: dict[str, list[Path]], tmp_path: Path):
    folders = [*runs["real"], *runs["copy"], *runs["pix"]]
    lines = compare(folders, FAST, tmp_path / "out")
    content = read_json(tmp_path / "out" / "results.json")
    assert [arm["seeds"] for arm in content["study"]["arms"]] == [[0, 1, 2], [0, 1, 2], [0, 1]]
    rock = row_of(content["gains"], "IoU", "big_rock")
    start = lines.index(next(line for line in lines if line.startswith("IoU big_rock")))
    printed = next(line for line in lines[start:] if line.startswith("  + copy-paste"))
    for number in ("gain", "low", "high", "simultaneous_low", "simultaneous_high"):
        assert f"{100 * rock[number]:+.1f}" in printed
    assert printed.endswith(rock["reading"])
    with (tmp_path / "out" / "gains.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(content["gains"]) == 2 * (3 + 1 + 1)
    assert float(row_of(rows, "IoU", "big_rock")["low"]) == pytest.approx(rock["low"])
    table = (tmp_path / "out" / "results.md").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("| arm | IoU soil | IoU bedrock | IoU big_rock | mean IoU |") for line in table)
    cell = f"{100 * rock['gain']:+.1f} [{100 * rock['low']:+.1f}, {100 * rock['high']:+.1f}] {rock['verdict']}"
    assert any(line.startswith("| + copy-paste |") and cell in line for line in table)
    done = json.loads((tmp_path / "out" / "DONE").read_text())
    assert sum(done["verdicts"].values()) == len(rows)


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
    assert "IoU a\\|b" in (tmp_path / "out" / "results.md").read_text(encoding="utf-8")


def test_names_stay_text_in_a_document():
    hostile = "| a `b` <img src=x> [c](http://d) \\ e\nf"
    assert escape_markdown(hostile) == r"\| a \`b\` \<img src=x> [c]\(http://d) \\ e f"
    assert escape_markdown("-1.3 [-10.6, +7.4] (p)") == "-1.3 [-10.6, +7.4] (p)"
    study = paint_study({"real": (None, 0.2), "copy": ("real", 0.5)}, images=12)
    arms = tuple(replace(arm, metadata=arm.metadata.model_copy(update={"title": hostile})) for arm in study.arms)
    metadata = study.metadata.model_copy(update={"title": hostile, "arms": tuple(arm.metadata for arm in arms)})
    lines = markdown_lines(summarise(StudyCounts(metadata, study.images, arms)))
    assert sum("img" in line for line in lines) > 4
    assert not [line for line in lines if re.search(r"(?<!\\)(<|`)|\]\(|\n", line)]
    tables = "\n".join(line.replace(r"\|", "") for line in lines).split("\n\n")
    rows = [table.split("\n") for table in tables if table.startswith("| ")]
    assert len(rows) > 3
    assert all(len({row.count("|") for row in table}) == 1 for table in rows)


# refusals


def test_a_single_run_or_a_single_arm_is_no_comparison(runs: dict[str, list[Path]]):
    with pytest.raises(RunError, match="one run was named"):
        arms_of(runs["real"][:1])
    with pytest.raises(RunError, match=r"all 3 runs are of one recipe \(real only\)"):
        arms_of(runs["real"])


def test_a_run_named_twice_is_refused(runs: dict[str, list[Path]]):
    with pytest.raises(RunError, match="real0 is named twice"):
        arms_of([runs["real"][0], runs["copy"][0], runs["real"][0]])


def test_the_same_training_in_two_folders_is_refused(runs: dict[str, list[Path]], tmp_path: Path, source: ArrayScenes):
    evaluate_run(write_run(tmp_path / "again"), source, 0.5)
    with pytest.raises(RunError, match=r"real0 and .*again are one recipe with seed 0 twice"):
        arms_of([runs["real"][0], runs["copy"][0], tmp_path / "again"])


def test_a_run_without_evaluation_is_told_the_command(runs: dict[str, list[Path]], tmp_path: Path):
    write_run(tmp_path / "new", extra=[COPY_PASTE])
    words = r"new has no finished evaluation; run `segmenter evaluate .*new --data painted\.npz`"
    with pytest.raises(RunError, match=words):
        arms_of([runs["real"][0], tmp_path / "new"])


def test_evaluations_on_other_data_are_refused(runs: dict[str, list[Path]], tmp_path: Path):
    other = ArrayScenes(paint_labels(6, seed=9), location="other.npz", seed=9)
    evaluate_run(write_run(tmp_path / "new", extra=[COPY_PASTE]), other, 0.5)
    with pytest.raises(DataError, match=r"real0 was evaluated on painted-.*new on other-.*not the same test scenes"):
        arms_of([runs["real"][0], tmp_path / "new"])


def test_evaluations_with_other_settings_are_refused(runs: dict[str, list[Path]], tmp_path: Path, source: ArrayScenes):
    evaluate_run(write_run(tmp_path / "new", extra=[COPY_PASTE]), source, 0.5, found_fraction=0.9)
    with pytest.raises(DataError, match="not the same test scenes or settings"):
        arms_of([runs["real"][0], tmp_path / "new"])


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
        arms_of(folders)
    chosen = arms_of(folders, CompareConfig(resamples=400, data="other.npz"))
    assert chosen[0].evaluations[0].record["images"] == 6
    with pytest.raises(RunError, match=r"no finished evaluation on elsewhere"):
        arms_of(folders, CompareConfig(resamples=400, data="elsewhere"))


def test_classes_in_another_order_are_the_same_classes(tmp_path: Path, source: ArrayScenes):
    """One network lists its classes in another order; both arms count alike, in the order of the first."""
    permuted = ArrayScenes(
        source.labels, replace(source.classes, names=("big_rock", "bedrock", "soil"), ids=(4, 2, 1)), source.location
    )
    order = permuted.classes.order_of(source.classes)
    assert order == [2, 1, 0]
    skilled = predictor(source, 0.7, seed=0)

    def predict(images: np.ndarray) -> np.ndarray:
        predicted = skilled(images)
        predicted[:, 26:31, 40:46] = 2  # a rock where mostly there is none
        return predicted

    for name, scenes, extra in (
        ("first", source, []),
        ("same", source, [COPY_PASTE]),
        ("other", permuted, [PIX2PIX]),
    ):
        run, config = write_run(tmp_path / name, 0, extra), EvaluateConfig()
        chosen = choose_scenes(run, scenes, config.part)
        table = np.argsort(order).astype(np.uint8) if scenes is permuted else np.arange(3, dtype=np.uint8)
        stand_in = with_margins(lambda images, to=table: to[predict(images)], scenes.classes)
        evaluate(run, scenes, chosen, scenes.classes, stand_in, config)
    study = count_arms(arms_of([tmp_path / name for name in ("first", "same", "other")]), FAST)
    assert study.classes.names == source.classes.names
    _, same, other = study.arms
    assert same.counts.sum() > 0
    np.testing.assert_array_equal(other.counts, same.counts)
    assert study.is_ranked
    np.testing.assert_array_equal(other.ranks, same.ranks)
    for rows, wanted in ((other.regions, same.regions), (other.false_alarms, same.false_alarms)):
        assert len(wanted)
        np.testing.assert_array_equal(rows, wanted)


def test_different_classes_are_refused(runs: dict[str, list[Path]], tmp_path: Path, source: ArrayScenes):
    renamed = ArrayScenes(
        source.labels, ClassSet(("soil", "ice", "big_rock"), (1, 2, 4), ((0, 0, 0),) * 3, 0, ("big_rock",))
    )
    evaluate_run(write_run(tmp_path / "new", extra=[COPY_PASTE]), renamed, 0.5)
    with pytest.raises(DataError, match=r"new tells apart soil, ice, big_rock; .*real0 tells apart soil, bedrock"):
        arms_of([runs["real"][0], tmp_path / "new"])


def test_more_training_steps_are_refused_unless_allowed(
    runs: dict[str, list[Path]], tmp_path: Path, source: ArrayScenes
):
    evaluate_run(write_run(tmp_path / "long", extra=[COPY_PASTE], steps=160), source, 0.9)
    folders = [runs["real"][0], tmp_path / "long"]
    with pytest.raises(RunError, match=r"long was trained for 160 steps and .*real0 for 100: more training alone"):
        arms_of(folders)
    assert len(arms_of(folders, CompareConfig(resamples=400, allow_different_steps=True))) == 2


def test_different_test_parts_are_refused(tmp_path: Path, source: ArrayScenes):
    from painted_runs import keys_of

    keys, data = keys_of(source), {"location": "painted.npz", "fingerprint": source.fingerprint()}
    for name, extra, test in (("a", [], keys[:40]), ("b", [COPY_PASTE], keys[20:60])):
        evaluate_run(write_run(tmp_path / name, extra=extra, data=data, test_keys=test), source, 0.5)
    with pytest.raises(DataError, match=r"scored on different scenes: their test parts of painted\.npz differ"):
        arms_of([tmp_path / "a", tmp_path / "b"])
