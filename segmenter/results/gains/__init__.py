"""Gains: what arms gained over others, from counts alone: per score, per group of regions, as a share, in labels."""
