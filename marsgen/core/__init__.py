"""Core: what all commands of both packages need: typed configs, errors, resumable runs, files."""
