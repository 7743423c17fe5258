"""Auto: which recipe finds the rare class best, under a budget of time. Each module imports only those above it.

config.py    settings, and the budget as text
data.py      what the data hold; the part that the race never sees, split off
studies.py   the studies that are run: race, confirmation, training on all data
clock.py     the time that is used, and an engine that stops when it is used up
plan.py      what fits the budget
room.py      whether the disk holds what fits
measure.py   what each recipe costs here, from a few steps
race.py      rungs: the worse half of the recipes is dropped after each
answer.py    the answer in words
run.py       all of it, resumable

Each rung of the race and the confirmation are ordinary studies (segmenter/study).
"""
