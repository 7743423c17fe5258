"""Cleaning: what does not belong, what shows the same ground, which scenes train, validate and test."""
