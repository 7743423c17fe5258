"""Quality of synthetic scenes, measured: real, varied, true to their label maps, and new?

agreement.py    a judge's label map beside the one that was asked for: IoU, losses per pixel, noise to ignore
select.py       which candidates are kept
crops.py        squares round real and pasted regions of a rare class
features.py     pictures -> feature vectors of a frozen network, cached by content
distances.py    KID, Frechet distance, density and coverage, with intervals and what real halves get
duplicates.py   nearest training region of each synthetic one: new, or remembered?
"""
