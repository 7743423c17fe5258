"""Quality of synthetic scenes, measured: does a trained segmenter see what was asked for?

agreement.py    a judge's label map beside the one that was asked for: IoU, losses per pixel, noise to ignore
select.py       which candidates are kept
"""
