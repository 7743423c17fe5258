"""Readers: the project's own formats, the AI4Mars release, and arrays in memory as scene sources."""
