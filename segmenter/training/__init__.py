"""Training: the loop, its batches, its losses."""
