"""Inference: trained networks asked about pictures."""
