"""From a data set to the regions that are pasted: measure the classes, settle how each is pasted, cut out."""

from collections.abc import Sequence

from marsgen.cleaning.dataset import Dataset
from marsgen.masks.config import PasteConfig
from marsgen.masks.infer_settings import resolve_settings
from marsgen.masks.profiles.measure_classes import profile_classes
from marsgen.masks.regions import RegionLibrary, cut_regions


def open_library(dataset: Dataset, names: Sequence[str], config: PasteConfig) -> RegionLibrary:
    """Measure the named classes on the train part, settle how each is pasted, and cut out its regions.

    Raises:
        DataError: an unknown class, or none of the classes has a region that is fit for pasting.
    """
    scenes, showing = dataset.scenes, dataset.train_scenes_with(names)
    profiles = profile_classes(scenes, showing, names, dataset.groups)
    resolved = {name: resolve_settings(config, profile) for name, profile in profiles.items()}
    settings = {name: found for name, (found, _) in resolved.items()}
    if config.ground_classes is None:  # pasted classes keep their distance, so none stands on another
        for name, found in settings.items():
            ground = tuple(other for other in found.ground_classes if other not in names)
            settings[name] = found.model_copy(update={"ground_classes": ground})
    notes = [note for _, note in resolved.values()]
    return cut_regions(scenes, showing, settings, dataset.survey.keys, profiles, notes)
