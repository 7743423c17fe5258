"""The page of results: one html file that fetches nothing, with its figures and pictures."""
