"""A trained network for others.

write.py  `segmenter export`: a network as ONNX or as a program of torch
load.py   such an ONNX file, opened for prediction
hub.py    `sg.TrainedSegmenter`: a run saved for others, on the hub, and opened from there
"""
