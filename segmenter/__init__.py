"""segmenter: train segmentation networks on real and synthetic scenes, and measure per class what was gained.

Data flow from top to bottom; each folder imports only what stands above it:

    networks/     U-Net, U-Net on a ready-made encoder, MarsSeg, the single-layer baseline; wrappers of their logits
    inference/    images -> label maps: predict, sliding windows, calibration, pseudo-labels; a trained network as judge
    training/     the loop and validation, batches, extra scenes, augmentation, losses, device, several processes
    evaluation/   a confusion matrix and the regions of every image, and the scores of an evaluation
    results/      from counts to gains, intervals, verdicts, tables, figures and pages
    study/        arms x seeds (x folds) as one resumable job
    config.py     the settings of every command
    cli.py        the command line

Of marsgen it imports core, scenes, cleaning, provenance, console and pages; marsgen never imports segmenter.
"""
