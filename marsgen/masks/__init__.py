"""Masks: cut regions of a rare class out of real scenes and put them into others, labels and pixels together.

- `paste.py`: PasteConfig, Stamp and EditedMask; `shape_stamp` turns and scales one region, `paste` puts it into a scene
- `regions.py`: Region and RegionLibrary; `cut_regions` finds them in the train scenes
- `plan.py`: Place and PlannedSample; `edit_sample` decides which scene gets which region where,
  `repeat_sample` which scene is drawn again as it is

Nothing is imported here: `PasteConfig` is part of the command line's configs, which must not wait for scikit-image.
"""
