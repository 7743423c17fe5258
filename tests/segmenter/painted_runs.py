"""Finished training runs without training: folders as `segmenter train` leaves them, and predictors of known skill."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from marsgen.core.runs import Run
from marsgen.core.storage.files import write_json
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.scene import SceneSource, scene_key
from segmenter.config import TrainConfig
from segmenter.evaluation.config import EvaluateConfig
from segmenter.evaluation.evaluate import PredictWithMargins, choose_scenes, evaluate
from segmenter.evaluation.margins import ranked_classes
from segmenter.evaluation.reader import Evaluation
from segmenter.inference.margins import BINS, CALLED

CLASSES = ClassSet(
    names=("soil", "bedrock", "big_rock"),
    ids=(1, 2, 4),
    colours=((170, 120, 70), (120, 150, 200), (220, 40, 40)),
    ignored=0,
    rare=("big_rock",),
)


class ArrayScenes(SceneSource):
    """Scenes given as arrays of ids; the picture of a scene is noise of its own, so that every content key differs."""

    def __init__(
        self, labels: Sequence[np.ndarray], classes: ClassSet = CLASSES, location: str = "painted.npz", seed: int = 0
    ):
        rng = np.random.default_rng(seed)
        self.labels = [np.asarray(map_, np.uint8) for map_ in labels]
        self.images = [rng.integers(0, 256, (*map_.shape, 1), np.uint8) for map_ in self.labels]
        self.classes, self.location, self.channels, self.shape = classes, location, 1, None
        self.names = [f"scene{i}" for i in range(len(labels))]
        self.seed = seed

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.images[index], self.labels[index]

    def fingerprint(self) -> str:
        content = b"".join(
            image.tobytes() + map_.tobytes() for image, map_ in zip(self.images, self.labels, strict=True)
        )
        return scene_key(np.frombuffer(content, np.uint8).reshape(1, -1, 1))


def keys_of(source: SceneSource) -> list[str]:
    return [scene_key(scene.image) for scene in source]


def paint_labels(count: int, seed: int = 0, rocks: float = 0.6) -> list[np.ndarray]:
    """Label maps (32, 48) of ids: soil above bedrock, a strip of ignored pixels, in most of them a square rock."""
    rng = np.random.default_rng(seed)
    maps = []
    for _ in range(count):
        labels = np.full((32, 48), 1, np.uint8)
        labels[rng.integers(8, 24) :] = 2
        labels[:, :3] = 0
        if rng.random() < rocks:
            row, column, side = rng.integers(0, 22), rng.integers(3, 36), rng.integers(5, 10)
            labels[row : row + side, column : column + side] = 4
        maps.append(labels)
    return maps


def predictor(
    source: SceneSource, rock_skill: float, noise: float = 0.1, seed: int = 0
) -> Callable[[np.ndarray], np.ndarray]:
    """A stand-in network: the truth, but rocks are seen with probability `rock_skill`; `noise` of the rest is wrong."""
    truth = {scene_key(scene.image): scene.indices for scene in source}
    rock = source.classes.index("big_rock")

    def predict(images: np.ndarray) -> np.ndarray:
        predicted = []
        for image in images:
            key = scene_key(image)
            rng = np.random.default_rng([seed, int(key, 16)])
            map_ = np.where(truth[key] == 255, 0, truth[key]).astype(np.uint8)
            seen = rng.random() < rock_skill
            wrong = rng.random(map_.shape) < noise
            map_ = np.where(wrong & (map_ < 2), 1 - map_ % 2, map_).astype(np.uint8)
            predicted.append(np.where((map_ == rock) & ~seen, 0, map_).astype(np.uint8))
        return np.stack(predicted)

    return predict


def with_margins(predict: Callable[[np.ndarray], np.ndarray], classes: ClassSet = CLASSES) -> PredictWithMargins:
    """The same predictions with margins that fit them: wide on bright pixels, narrow on dark ones."""

    def predict_both(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        predicted, steps = predict(images), images.mean(3).astype(int) // 4
        assert steps.max() < BINS - CALLED
        called = predicted[:, None] == np.array(ranked_classes(classes), int)[:, None, None]
        return predicted, np.where(called, CALLED + steps[:, None], CALLED - 1 - steps[:, None]).astype(np.uint8)

    return predict_both


def write_run(
    folder: Path,
    seed: int = 0,
    extra: Sequence[dict] = (),
    *,
    train_keys: Sequence[str] = (),
    val_keys: Sequence[str] = (),
    test_keys: Sequence[str] = (),
    extra_keys: Sequence[str] = (),
    data: dict | None = None,
    **settings: object,
) -> Run:
    """A finished `segmenter train` run; `settings` are fields of TrainConfig."""
    config = TrainConfig.model_validate({"seed": seed, "steps": 100, **settings})
    data = data or {"location": "train.npz", "fingerprint": "f" * 16}
    run = Run.start(folder, "segmenter train", config, {"data": data, "extra": list(extra)})
    parts = {"train": train_keys, "val": val_keys, "test": test_keys, "extra": extra_keys}
    write_json(folder / "split.json", parts)
    for step in range(20, config.steps + 1, 20):
        run.log(step, train_loss=1 / step + 0.01 * seed, lr=1e-3)
        if step % 40 == 0:
            run.log(step, mean_iou=step / 150, loss=2 / step, iou_soil=0.5, iou_bedrock=0.4, iou_big_rock=step / 400)
    run.finish({"steps": config.steps, "best_step": 80, "best_metric": "mean_iou", "best_score": 0.53})
    return Run.load(folder)


def evaluate_run(run: Run, source: SceneSource, rock_skill: float, **settings: object) -> Evaluation:
    """Score a painted run on `source`; its seed makes its own mistakes."""
    config = EvaluateConfig.model_validate(settings)
    chosen = choose_scenes(run, source, config.part)
    predict = predictor(source, rock_skill, seed=run.config["seed"])
    return evaluate(run, source, chosen, source.classes, with_margins(predict, source.classes), config)


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
