"""Study: arms x seeds (x folds) as one resumable job. Each module imports only those above it.

config.py    the yaml of a study
names.py     names of classes in it
folder.py    where its data lie, and how its folders are named
jobs.py      jobs that run once, each after what it needs
collect.py   counts and costs of finished runs
plan.py      which jobs a study has
checks.py    what is refused before anything is trained
room.py      what it takes on the disk
run.py       open a study, run it, report it
"""
