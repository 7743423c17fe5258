"""Diffusion: the denoiser (denoiser.py), how it draws (diffusion.py), and the training loop."""
