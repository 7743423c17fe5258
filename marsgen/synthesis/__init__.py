"""Synthesis: edited label maps through a generator into a folder of image/label pairs."""
