"""Names of classes in a study, checked before its data are opened."""

from marsgen.core.config import build_config
from marsgen.core.errors import DataError
from marsgen.scenes.classes import ClassSet
from segmenter.study.config import StudyConfig
from segmenter.training.config import TrainConfig, refuse_unknown_metric


def refuse_misspelt_classes(config: StudyConfig, classes: ClassSet, where: str) -> None:
    """Refuse an arm or a set that names a class which the data do not have.

    The other names in a set's settings are checked by `marsgen synthesize` itself, see checks.py.

    Args:
        where: the data, for the message.
    Raises:
        ConfigError: `segmenter train` would refuse the settings of an arm.
        DataError: a set is to paste a class that is not there.
    """
    for arm in config.arms:
        refuse_unknown_metric(build_config(TrainConfig, config.recipe(arm), f"arms.{arm}"), classes, where)
    for name, made in config.sets.items():
        pasted = made.settings.get("classes")
        for wanted in pasted if isinstance(pasted, (list, tuple)) else ():
            try:
                classes.spell(str(wanted))
            except DataError as problem:
                raise DataError(f"sets.{name}.settings.classes: {problem}") from None
