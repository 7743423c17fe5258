"""`marsgen export`: data sets in the formats of others, and generators as ONNX.

scenes.py       label maps and pictures: PNG folder, WebDataset, Parquet
huggingface.py  a Parquet folder with the dataset card that the hub reads
objects.py      COCO and YOLO: one object for each region
nnunet.py       nnU-Net's raw data
generator.py    a trained generator as ONNX files
"""
