"""Scenes: pictures of the ground with label maps, where they come from, and what is known about them.

Import from the modules; this file stays light so that `--help` does not wait for anything.
"""
