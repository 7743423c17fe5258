"""`sg.TrainedSegmenter`: a run of `segmenter train`, saved for others, on the hub, and opened from there."""

from dataclasses import dataclass

from marsgen.core.storage.seen import SPLIT_FILE
from marsgen.hub import ModelDescription, TrainedModel, in_one_line
from segmenter.inference.predict import load_segmenter


@dataclass
class TrainedSegmenter(TrainedModel):
    """A trained segmenter: `predict`, `evaluate` and `pseudo_label` take it as they take a run.

    `TrainedSegmenter.from_pretrained(run).save_pretrained("folder")`, `.push_to_hub("me/rocks")`.
    """

    COMMAND = "segmenter train"
    FILES = ("config.yaml", "environment.json", SPLIT_FILE, "best.safetensors", "DONE")

    def describe_model(self) -> ModelDescription:
        """See `TrainedModel.describe_model`."""
        _, classes, record = load_segmenter(self.folder)
        scores = self.said("scores", dict)
        shares = {name: scores.get(f"iou_{name}") for name in classes.names}
        ious = {name: f"{value:.1%}" if isinstance(value, float) else "" for name, value in shares.items()}
        metric, best = (
            in_one_line(str(self.said(key, kind))) for key, kind in (("best_metric", str), ("best_step", int))
        )
        return ModelDescription(
            title=f"Segmenter of {', '.join(in_one_line(name) for name in classes.names)}",
            classes=classes,
            channels=record["channels"],
            task="image-segmentation",
            usage="import segmenter as sg\n\n"
            'model = sg.TrainedSegmenter.from_pretrained("name/of-this-repository")  # or a folder of it\n'
            'label_map = sg.predict(model, "photo.jpg")  # (height, width) uint8 ids',
            facts=[
                ("Network", in_one_line(self.stored("config.network", str))),
                ("Training data", self.trained_on),
                (
                    "Training scenes",
                    f"{self.said('real_scenes', int):,} of the data set, {self.said('extra_scenes', int):,} extra",
                ),
                ("Steps", f"{self.said('steps', int):,}; the weights are those of step {best}, best by {metric}"),
            ],
            limits=[
                "The validation IoU is that of the step which it chose, so it is a little too high; "
                "`segmenter evaluate` scores on scenes that were not seen.",
                "It was trained on one data set; how well it does on pictures of another camera, scale or place is not "
                "known until it is evaluated on some with labels.",
                "Every pixel gets one of these classes, also where none of them is there.",
                f"{SPLIT_FILE} holds content keys and fingerprints (hashes) of the training pictures, so that an "
                "evaluation on them is refused; it holds no pictures.",
            ],
            class_scores={"validation IoU": ious},
        )
