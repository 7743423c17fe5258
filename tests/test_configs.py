"""Every shipped yaml loads; `settings` lists what each command can be told."""

import re
from pathlib import Path

import pytest
import typer
import yaml

import marsgen.cli
import segmenter.cli
from marsgen.core.config import build_config, load_config
from marsgen.core.errors import ConfigError
from marsgen.core.settings import find_settings, meanings_of
from marsgen.core.storage.files import write_text
from marsgen.scenes.classes import read_classes
from segmenter.study.config import StudyConfig
from segmenter.study.folder import Study
from segmenter.study.jobs import config_path
from segmenter.study.plan import plan_jobs

CONFIGS = Path(__file__).parent.parent / "configs"
MODELS = {**marsgen.cli.SETTINGS, **segmenter.cli.SETTINGS}
IN_FULL = {name: name for name in ("demo", "train-generator", "diffusion", "distilled", "synthesize")} | {
    "segmenter": "train"
}
"""yaml file -> command whose defaults it holds in full: a starting point to copy"""
RECIPES = {"pix2pix": "train-generator", "inspect": "inspect", "score": "score", **IN_FULL}
"""yaml file -> command that reads it"""
SEED_REPORT = CONFIGS / "seed_report"
"""recipes of `segmenter train`"""


def model_of(command: str):
    return find_settings(command, MODELS)


def keys_of(content: dict, prefix: str = "") -> set[str]:
    nested = [keys_of(v, f"{prefix}{k}.") if isinstance(v, dict) else {f"{prefix}{k}"} for k, v in content.items()]
    return set().union(*nested)


@pytest.mark.parametrize("name", IN_FULL)
def test_a_yaml_to_copy_holds_all_defaults_of_its_command(name):
    path, model = CONFIGS / f"{name}.yaml", model_of(IN_FULL[name])
    assert load_config(model, path) == model()
    assert keys_of(yaml.safe_load(path.read_text())) == keys_of(model().model_dump(mode="json"))


MARSGEN = typer.main.get_command(marsgen.cli.app)
"""what `app` makes anew whenever it is called"""


def check_study(config: StudyConfig, folder: Path) -> None:
    """Plan a study, and ask marsgen whether it understands what it would be told."""
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "a.png").touch()  # it has to be there, and is not looked into
    for job in plan_jobs(Study(config, folder, str(folder / "data"), "test", None, "pictures")):
        if job.commands and job.commands[0][0] == "marsgen":
            write_text(config_path(folder, job.name), job.config)
            MARSGEN.main([*job.commands[0][1:], "--check-settings"], standalone_mode=False)


def test_the_study_in_the_documents_can_be_run(tmp_path):
    text = (CONFIGS.parent / "docs" / "studies.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.S)
    check_study(build_config(StudyConfig, yaml.safe_load(block), "docs/studies.md"), tmp_path)


def test_every_other_yaml_loads(tmp_path):
    others = [p for p in CONFIGS.rglob("*.yaml") if p.parent != CONFIGS or p.stem not in IN_FULL]
    assert len(others) >= 4
    for path in others:
        if path.stem == "classes_mars":
            assert read_classes(path).rare == ("big_rock",)
        elif path.parent.name in ("studies", "domains", "confirm") or path.stem in ("study", "auto"):
            check_study(load_config(StudyConfig, path), tmp_path)
        else:
            model = model_of("train" if path.parent == SEED_REPORT else RECIPES[path.stem])
            assert load_config(model, path) != model(), f"{path} changes nothing"


@pytest.mark.parametrize(
    ("program", "name"), [(program, name) for program in (marsgen.cli, segmenter.cli) for name in program.SETTINGS]
)
def test_the_listed_settings_read_back_as_the_defaults(program, name, tmp_path, capsys):
    """`marsgen settings` and `segmenter settings`: every key, with its meaning, loadable by --config."""
    program.app(["settings", name], standalone_mode=False)
    listed = capsys.readouterr().out
    (tmp_path / "listed.yaml").write_text(listed)
    model = find_settings(name, program.SETTINGS)
    assert load_config(model, tmp_path / "listed.yaml") == model()
    assert keys_of(yaml.safe_load(listed)) == keys_of(model().model_dump(mode="json"))
    described = [text.split()[0] for text in meanings_of(model).values()]
    assert described
    assert all(f"# {word}" in listed for word in described)


def test_settings_of_an_unknown_command_offer_the_nearest():
    with pytest.raises(ConfigError, match=r"settings predcit: unknown.*predict.*; there are train, evaluate, predict"):
        find_settings("predcit", segmenter.cli.SETTINGS)


def test_the_settings_of_every_command_with_a_config_are_listed():
    import typer

    for program in (marsgen.cli, segmenter.cli):
        commands = typer.main.get_command(program.app).commands
        configured = {name for name, command in commands.items() if any(p.name == "config" for p in command.params)}
        assert configured - {"study"} <= set(program.SETTINGS)


@pytest.mark.parametrize(
    ("program", "name"), [(program, name) for program in (marsgen.cli, segmenter.cli) for name in program.SETTINGS]
)
def test_an_unknown_key_is_answered_with_the_command_that_lists_them(program, name):
    assert find_settings(name, program.SETTINGS).listed_by == f"`{program.app.info.name} settings {name}`"


@pytest.mark.parametrize("model", [*marsgen.cli.SETTINGS.values(), *segmenter.cli.SETTINGS.values()])
def test_every_setting_says_what_it_is(model):
    def undocumented(model, prefix=""):
        meanings = meanings_of(model)
        for key, field in model.model_fields.items():
            if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
                yield from undocumented(field.annotation, f"{prefix}{key}.")
            elif not meanings.get(key) and key != "seed":
                yield prefix + key

    assert list(undocumented(find_settings("it", {"it": model}))) == []
