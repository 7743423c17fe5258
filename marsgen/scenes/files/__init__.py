"""Files: picture and label map files, how a folder is laid out, and the manifest of a synthetic set."""
