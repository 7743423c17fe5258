"""Configs: what a user may write, and the sentence for what he may not."""

import pytest
from pydantic import create_model

from marsgen.core.config import Config, DataConfig, load_config
from marsgen.core.errors import ConfigError


class Recipe(Config):
    steps: int = 100
    lr: float = 1e-3
    data: DataConfig = DataConfig()


def test_overrides_beat_the_file_and_the_file_beats_defaults(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("steps: 7\nlr: 1e-4\n")
    recipe = load_config(Recipe, path, ["steps=9", "data.val_fraction=0.25"])
    assert (recipe.steps, recipe.lr, recipe.data.val_fraction, recipe.data.test_fraction) == (9, 1e-4, 0.25, 0.0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["step=9"], r"unknown key 'step' \(did you mean 'steps'\?\)"),
        (["data.val_shar=0.2"], r"unknown key 'data\.val_shar' \(did you mean 'val_fraction'\?\)"),
        (["steps=many"], r"steps is 'many'; expected a whole number"),
        (["data.val_fraction=1.5"], r"data\.val_fraction is 1\.5; expected less than 1"),
        (["data.folds=1"], "folds is 1, which leaves no scene to train on; give 2 or more, or 0"),
        (
            ["data.folds=5", "data.test_fraction=0.1"],
            r"folds 5 and test_fraction 0\.1 both choose the test part; set one",
        ),
        (["data.folds=5", "data.fold=5"], r"fold is 5 and folds is 5; fold has to be one of 0\.\.4"),
        (["data.fold=1"], "fold is 1 and folds is 0; say how many there are with folds"),
        (["lr=nan"], "lr is 'nan'; expected a finite number"),
        (["steps"], "expected key=value"),
        (["steps=3", "nonsense=1", "lr=x"], "unknown key 'nonsense'.*lr is 'x'|lr is 'x'.*unknown key 'nonsense'"),
    ],
)
def test_a_wrong_override_is_answered_in_one_line(overrides, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(Recipe, None, overrides)
    assert "\n" not in str(caught.value)


class Listed(Config):
    listed_by = "`program settings many`"

    steps: int = 1


Many = create_model("Many", __base__=Listed, **{f"key_{number}": (int, 0) for number in range(40)})


@pytest.mark.parametrize(
    ("model", "override", "message"),
    [
        (Listed, "stepz=1", "config: unknown key 'stepz' (did you mean 'steps'?); all keys: `program settings many`"),
        (Listed, "x=1", "config: unknown key 'x'; the keys there are steps"),
        (Many, "x=1", "config: unknown key 'x'; all keys: `program settings many`"),
        (Recipe, "stepz=1", "config: unknown key 'stepz' (did you mean 'steps'?)"),
    ],
)
def test_keys_are_listed_only_where_they_are_few_and_none_is_near(model, override, message):
    with pytest.raises(ConfigError) as caught:
        load_config(model, None, [override])
    assert str(caught.value) == message


def test_what_lists_all_keys_is_said_once():
    with pytest.raises(ConfigError) as caught:
        load_config(Many, None, ["stepz=1", "x=1"])
    assert str(caught.value).count("all keys: `program settings many`") == 1


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: no such file"):
        load_config(Recipe, tmp_path / "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("steps: [1, 2\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml: not readable yaml"):
        load_config(Recipe, broken)
    broken.write_text("- 1\n- 2\n")
    with pytest.raises(ConfigError, match="expected 'key: value' lines"):
        load_config(Recipe, broken)


def test_interpolation_is_not_resolved(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("steps: ${oc.env:HOME}\n")
    with pytest.raises(ConfigError, match="steps is"):
        load_config(Recipe, path)


@pytest.mark.parametrize("override", ["x" * 3000 + "=1", "data." + "y" * 3000 + "=1", "steps=" + "z" * 3000])
def test_a_long_text_is_not_repeated_whole(override):
    with pytest.raises(ConfigError) as caught:
        load_config(Recipe, None, [override])
    assert len(str(caught.value)) < 700
