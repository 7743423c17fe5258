"""`mg.TrainedGenerator`: a run of `marsgen train-generator`, saved for others, on the hub, and opened from there."""

from dataclasses import dataclass

from marsgen.core.errors import RunError
from marsgen.core.storage.reading import read_json
from marsgen.generators import RECORD, load_generator
from marsgen.hub import ModelDescription, TrainedModel


@dataclass
class TrainedGenerator(TrainedModel):
    """A trained generator: `synthesize` takes it as it takes a run.

    `TrainedGenerator.from_pretrained(run).save_pretrained("folder")`, `.push_to_hub("me/rocks")`.
    """

    COMMAND = "marsgen train-generator"
    FILES = (
        "config.yaml",
        "environment.json",
        RECORD,
        "best.safetensors",
        "denoiser/config.json",
        "denoiser/diffusion_pytorch_model.safetensors",
        "DONE",
    )

    def describe_model(self) -> ModelDescription:
        """See `TrainedModel.describe_model`."""
        generator = load_generator(str(self.folder))
        classes = generator.classes
        shown = ", ".join(classes.rare or classes.names)
        record = read_json(self.folder / RECORD, fault=RunError).get("distilled")  # checked when it was opened
        taught = (
            [("Distilled from", f"generator {record['teacher']}, guidance {record['guidance']:g}")] if record else []
        )
        drawing = ", ".join(f"{key} {value}" for key, value in generator.drawing.items())
        return ModelDescription(
            title=f"{generator.name}: pictures drawn for label maps",
            classes=classes,
            channels=generator.channels,
            task="image-to-image",
            usage="import marsgen as mg\n\n"
            'generator = mg.TrainedGenerator.from_pretrained("name/of-this-repository")  # or a folder of it\n'
            'extra = mg.synthesize("my_data", generator, n=100)',
            facts=[
                ("Kind", f"{generator.name}{f' ({drawing})' if drawing else ''}"),
                *taught,
                ("Training data", self.trained_on),
                ("Training pictures", f"{len(generator.trained_on):,}"),
                ("Steps", f"{self.said('steps', int):,}"),
            ],
            limits=[
                "It knows these classes as they look in its training data, whatever they are called elsewhere; "
                "data with other names of classes are refused.",
                f"What its scenes bring ({shown}) has to be measured on your data: train with and without them and "
                "compare (`segmenter compare`).",
                "Pictures may resemble training pictures; `marsgen score` looks for near copies.",
                f"{RECORD} holds content keys (hashes) of the training pictures, so that leaks are refused; it holds "
                "no pictures.",
            ],
        )
