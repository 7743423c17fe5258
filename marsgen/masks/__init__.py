"""Masks: cut regions of a rare class out of real scenes and put them into others, labels and pixels together.

- `config.py`: PasteConfig, the settings of yaml, and PasteSettings, those of one class
- `profiles/`: ClassProfile, what the real regions of a class are like
- `infer_settings.py`: from a profile to PasteSettings; a value in yaml wins
- `perspective.py`: the horizon of a scene and the distance of a row below it
- `regions.py`: Region and RegionLibrary; `cut_regions` finds them in the train scenes
- `library.py`: `open_library`, all of the above from a data set
- `blend.py`: Stamp and EditedMask; `shape_stamp` turns and scales one region, `paste` blends it into a scene
- `seams.py`: how far a real region's surroundings have no label, side by side, and the same around a pasted one
- `donors.py`: how large a pasted region is to be, and which real region it is made of
- `placement.py`: PlacementPrior, the weights of scenes and places; `learn_placement` learns it from real scenes
- `canvas.py`: Canvas, the scene that is pasted into; where a region may stand in it, and whether it fits
- `transform.py`: CopyPaste, the same for one picture of anybody's own training loop
- `plan.py`: Place and PlannedSample; `edit_sample` decides which scene gets which region where,
  `repeat_sample` chooses a scene to redraw under its own label map

Nothing is imported here: `PasteConfig` is part of the command line's configs, which must not wait for scikit-image.
"""
