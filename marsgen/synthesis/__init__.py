"""Synthesis: edited label maps through a generator into a folder of image/label pairs.

- `config.py`: SynthesizeConfig
- `maps.py`: label maps that are drawn as they are, instead of pasting
- `inputs.py`: what a set is made from, opened and checked before anything is written
- `focus.py`: regions are pasted where a trained segmenter has a high loss
- `scene_maker.py`: SceneMaker: plan and paste a sample, draw it, write it
- `windows.py`: the inpainting mask and the windows that the generator draws
- `parts.py`: chunks shared out to an engine: a pool of processes, or a cluster
- `synthesize.py`: the flow of the command, with several processes and resumed after an interruption
- `compare_regions.py`: pasted.json: sizes, thickness, cut-off shares and seams of pasted regions beside real ones
- `journal.py`, `record.py`, `preview.py`: the files of the folder: journals and manifest, synth.json, preview.png
"""
