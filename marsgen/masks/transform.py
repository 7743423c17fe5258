"""CopyPaste: rare regions pasted into the pictures of anybody's own training loop, as a transform of pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from marsgen.cleaning.dataset import Dataset
from marsgen.core.config import make_config
from marsgen.core.errors import ConfigError, DataError
from marsgen.masks.config import PasteConfig
from marsgen.masks.library import open_library
from marsgen.masks.placement import learn_placement
from marsgen.masks.plan import NoPlaceError, edit_sample
from marsgen.scenes.readers.arrays import ArrayScenes

__all__ = ["CopyPaste"]

REGIONS_TRIED = 20
"""regions for which a place is looked for in a picture before it stays as it is"""


class CopyPaste:
    """Paste regions of a class into a picture and its label map: `image, labels = transform(image, labels)`.

    The regions come from the train part of the data, and no network draws anything. Call number k of a seed always
    pastes alike. Workers of a data loader are copies that start with the same seed and number: give each another seed
    (`reseed`, in worker_init_fn).
    """

    def __init__(
        self,
        data: Dataset,
        classes: Sequence[str] = (),
        *,
        p: float = 0.5,
        seed: int = 0,
        config: PasteConfig | None = None,
        settings: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Measure the classes, and cut out their regions.

        Args:
            data: from `from_arrays` or `from_folder`.
            classes: what is pasted; default: the rare classes of the data.
            p: probability that a call pastes, in [0, 1].
            seed: of all random numbers.
            config, settings, more: of `PasteConfig`, such as regions_per_scene=(1, 2); the others are inferred.
        Raises:
            ConfigError, DataError: an unknown setting or class, or no region of a class.
        """
        if not 0 <= p <= 1:
            raise ConfigError(f"p is {p}; expected a probability in [0, 1]")
        config = make_config(PasteConfig, config, {**(settings or {}), **more})
        if config.max_parents != PasteConfig.model_fields["max_parents"].default:
            raise ConfigError("max_parents is set, but it counts scenes, and CopyPaste pastes into the one given")
        if config.placement == "focus":
            raise ConfigError("placement is focus, which needs a segmenter; CopyPaste has none")
        scenes = data.scenes
        names = tuple(scenes.classes.spell(name) for name in classes) or scenes.classes.rare
        self.p = p
        library = open_library(data, names, config)
        # there is one picture to paste into, which is tried with several regions
        alone = {
            name: found.model_copy(update={"max_parents": REGIONS_TRIED}) for name, found in library.settings.items()
        }
        self.library = replace(library, settings=alone)
        self.placement = None
        if config.placement != "uniform":
            fit = library.class_names
            learned = learn_placement(scenes, data.split.train, data.survey.pixels, fit, library.standing)
            self.placement = replace(learned, parents=np.ones(1))
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Begin with other random numbers."""
        self.seed, self.calls = seed, 0

    def __call__(self, image: Any, labels: Any) -> tuple[Any, Any]:
        """Paste into one picture; it and its label map stay as they are, and new ones are returned.

        Args:
            image: (H, W) or (H, W, channels) uint8 array, or (channels, H, W) uint8 tensor (tv_tensors.Image too).
            labels: (H, W) uint8 ids of the data's classes as an array or tensor (tv_tensors.Mask too).
        Returns:
            the same kinds, shapes and types; unchanged where a region finds no place.
        Raises:
            DataError: another kind, shape or number of channels, or ids that are no class.
        """
        number, self.calls = self.calls, self.calls + 1
        pixels, ids = _image_array(image), _array(labels)
        # copies: the caller's arrays stay as they are
        one = ArrayScenes([pixels.copy()], [ids.copy()], self.library.classes, names=["image"], location="image given")
        if one.channels != self.library.channels:
            raise DataError(f"image given: {one.channels} channels, but the regions have {self.library.channels}")
        if np.random.default_rng([self.seed, number, 1]).random() < self.p:
            try:
                edited = edit_sample(number, self.seed, one, self.library, (0,), placement=self.placement).edited
                pixels, ids = edited.image.reshape(pixels.shape), edited.labels
            except NoPlaceError:
                pass
        return _like(image, pixels), _like(labels, ids)


def _image_array(image: Any) -> np.ndarray:
    """(channels, H, W) tensor or array -> (H, W, channels) or (H, W) array."""
    array = _array(image)
    return array if isinstance(image, np.ndarray) or array.ndim != 3 else np.moveaxis(array, 0, -1)


def _array(given: Any) -> np.ndarray:
    if isinstance(given, np.ndarray):
        return given
    if not hasattr(given, "detach"):
        raise DataError(
            f"CopyPaste was given a {type(given).__name__}; expected a uint8 array or tensor (for a picture of PIL: "
            "numpy.asarray of it)"
        )
    return given.detach().cpu().numpy()


def _like(given: Any, array: np.ndarray) -> Any:
    """An array as the kind of thing that was given."""
    if isinstance(given, np.ndarray):
        return array
    import torch

    if array.ndim == 3:
        array = np.moveaxis(array, -1, 0)
    tensor = torch.from_numpy(np.ascontiguousarray(array)).to(given.device)
    if type(given) is torch.Tensor:
        return tensor
    from torchvision import tv_tensors

    return tv_tensors.wrap(tensor, like=given)
