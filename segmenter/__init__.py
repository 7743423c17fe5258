"""segmenter: which terrain is at every pixel, how well that is known, and whether extra scenes helped.

    networks/        U-Net, U-Net on a ready-made encoder, MarsSeg, and the single-layer baseline
    losses.py        cross-entropy, Dice, focal, and sums of them, by class weights; ignored pixels left out
    mixing.py        real and synthetic scenes in one training stream, at a stated share
    augment.py       flips, brightness, contrast, small scale and shift
    train.py         the loop; validation scenes are always real
    predict.py       images -> label maps, as PNG or as the course's CSV; windows.py: large ones in windows
    pseudo_labels.py what trained networks are surest of in pictures without labels, as scenes to train on
    evaluate.py      EVALUATION: a confusion matrix per image, kept on disk; region_hits.py: which rocks were found
    calibration.py   how readily a rare class is named, chosen on validation scenes
    study.py         STUDY: arms x seeds (x folds) as one resumable job: study_config.py, its jobs study_plan.py (run as
                     child commands by jobs.py), what they counted study_cells.py
    results/         runs or a study -> counts.py -> gains.py -> verdict.py (the rule) -> tables.py and page/;
                     compare.py and report.py are the commands

Of marsgen it imports scenes, runs, config, errors, files, console and process group, nothing else; marsgen never
imports segmenter.
"""
