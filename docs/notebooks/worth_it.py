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
# # Is it worth it?
#
# Synthetic scenes may help, do nothing, or hurt; on Mars, pasting few donors hurts. So measure it: the same network, as
# many steps, with and without them, several seeds each, scored on real scenes that no run has seen. This notebook shows
# how, on simulated scenes; its network is so small and its steps are so few that its own answer means nothing.

# %%
import tempfile
from pathlib import Path

import marsgen as mg
import segmenter as sg
from segmenter.results.compare import CompareConfig, compare

work = Path(tempfile.mkdtemp())
data = mg.from_folder("sim:64,rocks=0.4,outliers=0", val_fraction=0.15, test_fraction=0.35)
print(data.describe())

# %% [markdown]
# ## The arms
#
# The baseline is not "real scenes" but "real scenes, those with a rock drawn more often" (`rare_fraction`): that costs
# nothing, and what does not beat it is not needed. All arms take as many steps; more training alone could be a gain.

# %%
recipe = {"steps": 40, "batch_size": 4, "validate_every": 20, "unet": {"width": 4}, "lr": 1e-2, "warmup_steps": 5}
recipe["rare_fraction"] = 0.25
pasted = mg.synthesize(data, "copy-paste", classes=["big_rock"], n=16, out=work / "pasted")

runs = []
for name, extra in (("oversampled", []), ("pasted", [pasted])):
    for seed in (0, 1):
        run = sg.train(data, extra=extra, seed=seed, out=work / f"{name}-{seed}", **recipe)
        sg.evaluate(run, data)
        runs.append(run.folder)

# %% [markdown]
# ## The verdict
#
# Images and seeds are resampled together, and the interval is corrected for the number of arms. "helps" needs the whole
# interval above zero; "cannot tell" is the usual answer of two seeds.

# %%
for line in compare(runs, CompareConfig(resamples=300), work / "comparison"):
    print(line)

# %% [markdown]
# ## For your own data
#
# The same as one job, which goes on when it is repeated, over folds, so that every scene is tested once:
#
# ```sh
# segmenter study configs/studies/rare_class_cpu.yaml --data my_data --folds 5 --out outputs/my-study
# segmenter study-report outputs/my-study
# ```
#
# Its arms are those of the published results: oversampling, copy-paste, generated scenes, crops, pseudo-labels. The
# report has gains with intervals, by class and by the size of regions, and limitations. Read it with three questions:
#
# 1. Is the gain over *oversampling* above zero after correction? If not, do not use synthetic scenes.
# 2. Does the class that you care about gain, or another one?
# 3. How few test regions is it measured on? With twenty rocks, an interval is wide whatever you do.
