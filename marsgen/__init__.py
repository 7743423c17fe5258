"""marsgen: synthetic scenes of a rare class, made from label maps, to train a segmenter on.

Data flow one way, and each folder stands for one stage; CONTRIBUTING.md has the order of imports:

    scenes/         Scene, ClassSet, readers of data sets, confusion matrix; simulate/: scenes for tests and demos
    cleaning/       suspects and duplicates in a data set; its train, validation and test split
    masks/          cut regions of a class out of real scenes, and place and blend them into others
    generators/     label map -> picture: copy_paste (no network), pix2pix, diffusion; their training
    synthesis/      edited label maps through a generator into a folder of image/label pairs
    quality/        synthetic scenes measured against real ones: distances, copies, agreement with a judge; selection
    pages/          html pages; html.py, page.html.j2 and page.css serve the pages of segmenter too
    commands/       inspect, preview, score, export, playground, demo: one module each, with its settings
    api.py          what `import marsgen` offers, beside CopyPaste of masks/transform.py and TrainedGenerator of
                    generators/hub.py
    cli.py          the command `marsgen`; SETTINGS lists the settings of every command

What all of these use, and `segmenter` too:

    core/           settings from yaml, errors, resumable run folders, processes, parts of training loops;
                    storage/: files read with a sentence for each fault, written whole or not at all
    provenance/     which scenes a run or a synthetic set has seen, and what must therefore not be mixed
    hub.py          trained models as folders for the Hugging Face hub
    console.py      options and output of both command lines

`segmenter` trains on what comes out. marsgen never imports it; a trained segmenter is opened through quality/judges.py.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = [
    "CopyPaste",
    "TrainedGenerator",
    "from_arrays",
    "from_coco",
    "from_folder",
    "from_huggingface",
    "from_labelme",
    "synthesize",
    "train_generator",
]
_ELSEWHERE = {"CopyPaste": "marsgen.masks.transform", "TrainedGenerator": "marsgen.generators.hub"}


def __getattr__(name: str) -> Any:
    """The functions of api.py, imported when one is used: `import marsgen` alone stays quick."""
    if name in __all__:
        return getattr(import_module(_ELSEWHERE.get(name, "marsgen.api")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
