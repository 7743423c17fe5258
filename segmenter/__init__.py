"""segmenter: which terrain is at every pixel, how well that is known, and whether extra scenes helped.

    networks/        the U-Net and the single-layer baseline
    losses.py        weighted cross-entropy, Dice, focal, and sums of them; ignored pixels left out
    mixing.py        real and synthetic scenes in one training stream, at a stated share
    augment.py       flips, brightness, contrast, small scale and shift
    train.py         the loop; validation scenes are always real
    predict.py       images -> label maps, as PNG or as the course's CSV
    evaluate.py, intervals.py, compare.py, report.py    finished runs -> scores, gains, one page

Of marsgen it imports scenes, runs, config, errors and files, nothing else; marsgen never imports segmenter.
"""
