"""Networks: (B, channels, H, W) float images in [-1, 1] -> (B, C, H, W) logits, for any H and W.

In training, a network with deep supervision (`deep_supervision`) returns a list: the logits, then those of its deeper
maps. Every network also has features(images) -> (B, F): its deepest layer averaged over the image.
"""
