# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your folder in ten minutes
#
# From pictures and label maps to synthetic scenes of a rare class, and to a segmenter that was trained on both. It
# takes half a minute on two CPU cores, because the data are 48 small simulated pictures and training is a few steps.
# For your own data, leave out the cell that makes a folder, open yours, and leave out the small settings.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import yaml
from PIL import Image

import marsgen as mg
import segmenter as sg

work = Path(tempfile.mkdtemp())

# %% [markdown]
# ## The folder
#
# `images/`, `labels/` with the same names, and a `classes.yaml`. This cell makes a toy one; yours is there already.
# LabelMe, COCO, YOLO, Pascal VOC, CVAT, Cityscapes, GeoTIFF and others are read as they are (the page on formats).

# %%
folder = work / "my_data"
for part in ("images", "labels"):
    (folder / part).mkdir(parents=True)
for scene in mg.from_folder("sim:48,rocks=0.5,outliers=0").scenes:
    Image.fromarray(scene.image[..., 0]).save(folder / "images" / f"{scene.name}.png")
    Image.fromarray(scene.labels).save(folder / "labels" / f"{scene.name}.png")
entries = [(1, "soil", "#aa7846"), (2, "bedrock", "#7896c8"), (3, "sand", "#e6c878"), (4, "big_rock", "#dc2828")]
content = {
    "ignored": 0,
    "rare": ["big_rock"],
    "classes": [{"name": name, "id": number, "colour": colour} for number, name, colour in entries],
}
_ = (folder / "classes.yaml").write_text(yaml.safe_dump(content))

# %% [markdown]
# ## Open it
#
# The data set is checked, scenes that look wrong are left out, near copies stay together, and the rest is split. Your
# own folder goes here: `mg.from_folder("path/to/it")`.

# %%
data = mg.from_folder(folder, val_fraction=0.2, test_fraction=0.2)
print(data.describe())
classes = data.scenes.classes
pixels = data.survey.pixels.sum(0)[: len(classes)]  # behind them: pixels without a label
for name, share in zip(classes.names, pixels / pixels.sum(), strict=True):
    print(f"{name:10} {share:6.2%} of the labelled pixels")


# %%
def show(scenes, title):
    """Pictures above, label maps below."""
    figure, axes = plt.subplots(2, len(scenes), figsize=(3 * len(scenes), 3.2), squeeze=False, dpi=50)
    for column, (image, labels) in enumerate(scenes):
        axes[0, column].imshow(classes.show(image).squeeze(), cmap="gray")
        axes[1, column].imshow(classes.paint(labels))
    for axis in axes.flat:
        axis.axis("off")
    figure.suptitle(title)
    plt.show()


with_rocks = data.train_scenes_with(["big_rock"])
show([data.scenes[index] for index in with_rocks[:3]], "real scenes with a big rock (red)")

# %% [markdown]
# ## Synthetic scenes without any training
#
# Copy-paste cuts rocks out of training scenes and pastes them into others. How they are pasted (size, place, direction,
# seam) is inferred from the real ones.

# %%
pasted = mg.synthesize(data, "copy-paste", classes=["big_rock"], n=12, out=work / "pasted")
show([pasted[index] for index in range(3)], "pasted")

# %% [markdown]
# ## Synthetic scenes from a trained generator
#
# A generator draws the picture that belongs to an edited label map. Six steps draw nothing worth looking at; leave out
# everything but `data` and `out` for the real settings.

# %%
generator = mg.train_generator(
    data,
    out=work / "generator",
    steps=6,
    batch_size=2,
    crop_px=32,
    generator_width=8,
    discriminator="patch",
    discriminator_width=8,
)
drawn = mg.synthesize(data, generator, classes=["big_rock"], n=4, out=work / "drawn")
image, label_map = drawn[0]
print(image.shape, image.dtype, label_map.shape, np.unique(label_map))

# %% [markdown]
# ## Train a segmenter on real and synthetic scenes
#
# Synthetic scenes join training only; validation and test are always real. Here too: leave out all but `extra` and
# `out`.

# %%
small = {"steps": 60, "batch_size": 4, "validate_every": 30, "unet": {"width": 4}, "lr": 1e-2, "warmup_steps": 5}
run = sg.train(data, extra=[pasted], out=work / "run", **small)
evaluation = sg.evaluate(run, data)  # the test part
for scores in evaluation.record["per_class"]:
    print(
        f"{scores['class']:10} IoU {'nothing of it there' if scores['iou'] is None else format(scores['iou'], '.1%')}"
    )

# %%
test = [data.scenes[index] for index in data.split.test[:3]]
show([(scene.image, sg.predict(run, scene.image)) for scene in test], "predicted on test scenes")

# %% [markdown]
# ## Keep it
#
# A saved model is a folder with a model card; `push_to_hub("me/rocks")` puts it on the Hugging Face hub.

# %%
model = sg.TrainedSegmenter.from_pretrained(run)
model.save_pretrained(work / "rocks")
print(*sorted(path.name for path in (work / "rocks").iterdir()), sep="\n")

# %% [markdown]
# One run says little about whether synthetic scenes help. The notebook "Is it worth it?" measures that.
