"""Evaluation: confusion counts and regions of every image, and the scores computed from them."""
