"""marsgen: draw more scenes of a rare class, from label maps, for a segmenter to learn from.

Data flow one way, and the folders are named after the stations:

    scenes/         what both packages speak: Scene, ClassSet, data sources, cleaning, splits, confusion
    masks/          cut regions of a class out of real scenes and paste them into others
    generators/     label map -> picture: copy_paste (no network), pix2pix
    synthesis.py    edited masks through a generator into a folder of image/label pairs
    inspection.py   what is in a data set and what is wrong with it, as a page
    config.py, runs.py, files.py, errors.py    typed configs, resumable run folders, atomic writes, sentences for users
    cli.py          the `marsgen` command; `segmenter` trains on what comes out
"""

__version__ = "0.1.0"
