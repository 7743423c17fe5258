"""Data sets as labelling tools, challenges and libraries write them, read as scenes without a copy.

recognise.py      what a folder or file looks like, in words, and the reader that opens it
reading.py        what every reader gives back, and the scenes that are made of it
objects.py        outlines and run lengths -> label map; which object wins where two overlap
listing.py        the files of a folder, found once for all readers
labelme.py coco.py yolo.py                      outlines of objects
masks.py          label maps in the folders of Pascal VOC, CVAT, Cityscapes and CamVid
class_folders.py  one folder a class, with 0/255 masks beside the pictures
kind_masks.py   a 0/255 mask for each kind in a picture, in a folder of masks
tables.py         Parquet files and saved Hugging Face datasets
geotiff.py        rasters of any number of bands and 8 or 16 bits, by choice of bands and range
"""
