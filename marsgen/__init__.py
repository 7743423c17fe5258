"""marsgen: draw more scenes of a rare class, from label maps, for a segmenter to learn from.

Data flow one way, and the folders are named after the stations:

    scenes/         what both packages speak: Scene, ClassSet, data sources, cleaning, splits, confusion
    masks/          cut regions of a class out of real scenes and paste them into others
    generators/     label map -> picture: copy_paste (no network), pix2pix, diffusion
    synthesis.py    edited masks through a generator into a folder of image/label pairs; focus.py says where to paste
    quality/        synthetic pictures beside real ones: realism, variety, agreement with a judge, near-copies
    judges.py       how a trained segmenter is asked, without importing one
    inspection.py, preview.py, score.py, export.py    commands: data looked through, a generator's sheets, a set
                    measured, a set in another format
    process_group.py         the processes that torchrun started
    config.py, runs.py, files.py, errors.py    typed configs, resumable run folders, atomic writes, sentences for users
    cli.py          the `marsgen` command; `segmenter` trains on what comes out
"""

__version__ = "0.1.0"
