"""segmenter: segmentation networks trained on real and synthetic scenes, and the gain of each class measured.

Data flow one way, and each folder stands for one stage; CONTRIBUTING.md has the order of imports:

    networks/       U-Net, U-Net on a ready-made encoder, MarsSeg, and the single-layer baseline
    training/       the training loop, batches of real and synthetic scenes, augmentation, losses
    inference/      label maps from trained networks: sliding window, calibration, pseudo-labels, judge for marsgen
    evaluation/     a confusion matrix per image, and which regions of a class were found
    results/        counts -> scores and gains with intervals -> verdicts -> text, tables, figures, page
    study/          experiments of many runs (arms x seeds x folds) as one resumable job
    cli.py          the command `segmenter`; SETTINGS lists the settings of every command

Of marsgen it imports core, scenes, cleaning, provenance, console and pages.html, nothing else; marsgen never imports
segmenter.
"""
