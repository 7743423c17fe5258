"""Quality of synthetic scenes: realism, variety, agreement with their label maps, near-copies of training regions.

config.py       settings of select.py and score.py
judges.py       the interface of a trained segmenter, and how one is opened without importing it
agreement.py    a judge's predictions compared with the label maps: IoU, loss per pixel
select.py       which candidates are kept
crops.py        squares round real and pasted regions of a rare class
features.py     pictures -> feature vectors of a frozen network, cached by content
distances.py    KID, Frechet distance, density and coverage, with intervals and the values of real halves
memorization.py the nearest training region of each synthetic region
scored_set.py   samples of a synthetic set, and the real scenes that they are compared with
score.py        all of it measured for one set
variety.py      effective number of different regions
score_text.py   the measured numbers in words
"""
