"""Masks: cut regions of a rare class out of real scenes and put them into others, labels and pixels together.

- `config.py`: PasteConfig
- `perspective.py`: the horizon of a scene and the distance of a row below it
- `regions.py`: Region and RegionLibrary; `cut_regions` finds them in the train scenes
- `paste.py`: Stamp and EditedMask; `shape_stamp` turns and scales one region, `paste` blends it into a scene
- `placement.py`: PlacementPrior, the weights of scenes and places; `learn_placement` learns it from real scenes
- `canvas.py`: Canvas, the scene that is pasted into; where a region may stand in it, and whether it fits
- `plan.py`: Place and PlannedSample; `edit_sample` decides which scene gets which region where,
  `repeat_sample` chooses a scene to redraw under its own label map

Nothing is imported here: `PasteConfig` is part of the command line's configs, which must not wait for scikit-image.
"""
