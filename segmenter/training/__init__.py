"""Training: the loop, batches, losses, several processes; `start.py` opens everything that the loop needs."""
