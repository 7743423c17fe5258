"""Core: what all commands of both packages need: typed configs, errors, atomic files, resumable runs."""
