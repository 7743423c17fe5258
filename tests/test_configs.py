"""Every shipped yaml loads; those named after a command hold exactly its defaults."""

import importlib
import re
from pathlib import Path

import pytest
import yaml

from marsgen.core.config import build_config, load_config
from marsgen.core.files import write_text
from marsgen.scenes.classes import read_classes
from segmenter.study.config import Study, StudyConfig
from segmenter.study.jobs import config_path
from segmenter.study.plan import plan_jobs

CONFIGS = Path(__file__).parent.parent / "configs"
MODELS = {
    "demo": "marsgen.commands.demo:DemoConfig",
    "inspect": "marsgen.commands.inspect:InspectConfig",
    "train-generator": "marsgen.generators.train_pix2pix:TrainPix2PixConfig",
    "diffusion": "marsgen.generators.train_diffusion:TrainDiffusionConfig",
    "synthesize": "marsgen.synthesis.config:SynthesizeConfig",
    "preview": "marsgen.commands.preview:PreviewConfig",
    "export": "marsgen.commands.export:ExportConfig",
    "score": "marsgen.commands.score:ScoreConfig",
    "segmenter": "segmenter.config:TrainConfig",
    "predict": "segmenter.config:PredictConfig",
    "pseudo-label": "segmenter.config:PseudoLabelConfig",
    "evaluate": "segmenter.evaluation.evaluate:EvaluateConfig",
    "compare": "segmenter.results.compare:CompareConfig",
    "report": "segmenter.results.report:ReportConfig",
}
RECIPES = {"pix2pix": "train-generator"}
"""yaml files that are another recipe of a command"""
SEED_REPORT = CONFIGS / "seed_report"
"""recipes of `segmenter train`"""


def model_of(name: str):
    module, _, attribute = MODELS[RECIPES.get(name, name)].partition(":")
    return getattr(importlib.import_module(module), attribute)


def keys_of(content: dict, prefix: str = "") -> set[str]:
    nested = [keys_of(v, f"{prefix}{k}.") if isinstance(v, dict) else {f"{prefix}{k}"} for k, v in content.items()]
    return set().union(*nested)


@pytest.mark.parametrize("name", MODELS)
def test_a_yaml_named_after_a_command_is_its_defaults_in_full(name):
    path, model = CONFIGS / f"{name}.yaml", model_of(name)
    assert load_config(model, path) == model()
    assert keys_of(yaml.safe_load(path.read_text())) == keys_of(model().model_dump(mode="json"))


def check_study(config: StudyConfig, folder: Path) -> None:
    """Plan a study, and ask marsgen whether it understands what it would be told."""
    from marsgen.cli import app

    for job in plan_jobs(Study(config, folder, "data", "test", None, "pictures")):
        if job.commands and job.commands[0][0] == "marsgen":
            write_text(config_path(folder, job.name), job.config)
            app([*job.commands[0][1:], "--dry-run"], standalone_mode=False)


def test_the_study_in_the_documents_can_be_run(tmp_path):
    text = (CONFIGS.parent / "docs" / "studies.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.S)
    check_study(build_config(StudyConfig, yaml.safe_load(block), "docs/studies.md"), tmp_path)


def test_every_other_yaml_loads(tmp_path):
    others = [p for p in CONFIGS.rglob("*.yaml") if p.parent != CONFIGS or p.stem not in MODELS]
    assert len(others) >= 4
    for path in others:
        if path.stem == "classes_mars":
            assert read_classes(path).rare == ("big_rock",)
        elif path.parent.name == "studies" or path.stem == "study":
            check_study(load_config(StudyConfig, path), tmp_path)
        else:
            model = model_of("segmenter" if path.parent == SEED_REPORT else path.stem)
            assert load_config(model, path) != model(), f"{path} changes nothing"


@pytest.mark.parametrize("name", MODELS)
def test_every_setting_says_what_it_is(name):
    def undocumented(model, prefix=""):
        for key, field in model.model_fields.items():
            if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
                yield from undocumented(field.annotation, f"{prefix}{key}.")
            elif not field.description and key != "seed":
                yield prefix + key

    assert list(undocumented(model_of(name))) == []
