"""pix2pix: the generator and its discriminators (pix2pix.py, oasis.py), augmentation, and the training loop."""
