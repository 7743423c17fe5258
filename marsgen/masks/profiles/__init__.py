"""Profiles: what the real regions of a class are like. profile.py holds them, measure_classes.py measures them,
summaries.py sums them up."""
