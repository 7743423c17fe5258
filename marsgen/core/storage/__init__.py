"""Storage: what is on the disk, read with a sentence for each fault and written whole or not at all."""
