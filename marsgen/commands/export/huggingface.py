"""A folder that `datasets.load_dataset` opens: data/SPLIT-00000-of-00001.parquet with columns image, label and name.

image and label are of the feature Image: a label map's pixel value is the class id, see classes.yaml and README.md.

Source: huggingface.co/docs/datasets/repository_structure and /about_dataset_features.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from marsgen.scenes.scene import SceneSource

SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""part of a data set -> split of the hub"""
_FEATURES = {
    "image": {"_type": "Image"},
    "label": {"_type": "Image"},
    "name": {"dtype": "string", "_type": "Value"},
}


def schema() -> Any:
    """The pyarrow schema, with the metadata that tells `datasets` which columns are pictures."""
    import pyarrow as pa

    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [("image", picture), ("label", picture), ("name", pa.string())]
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})})


def row_of(sample: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table from encoded pictures (keys name, image and labels)."""
    path = f"{sample['name']}.png"
    return {
        "image": {"bytes": sample["image"], "path": path},
        "label": {"bytes": sample["labels"], "path": path},
        "name": sample["name"],
    }


def plan_files(scenes: SceneSource, scenes_per_file: int) -> Iterator[tuple[str, list[int]]]:
    """(file name, indices of its scenes), split by split; scenes in no part are for training."""
    parts = [part or "train" for part in scenes.parts or [""] * len(scenes)]
    for part, split in SPLITS.items():
        indices = [index for index, own in enumerate(parts) if own == part]
        blocks = [indices[start : start + scenes_per_file] for start in range(0, len(indices), scenes_per_file)]
        for number, block in enumerate(blocks):
            yield f"data/{split}-{number:05d}-of-{len(blocks):05d}.parquet", block


def front_matter(scenes: SceneSource) -> dict[str, Any]:
    """Which files hold which split, for the data card."""
    there = {part or "train" for part in scenes.parts or [""]}
    files = [{"split": split, "path": f"data/{split}-*"} for part, split in SPLITS.items() if part in there]
    return {"configs": [{"config_name": "default", "data_files": files}]}
