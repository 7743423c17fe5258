"""Statistics of gains: intervals by bootstrap, intervals of several arms at once, and power."""
