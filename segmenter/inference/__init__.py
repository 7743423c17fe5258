"""Inference: label maps from trained networks, and what is made of them."""
