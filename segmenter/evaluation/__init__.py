"""Evaluation: confusion counts and regions, per image."""
