"""Pages: html with its pictures inside; nothing to fetch."""
