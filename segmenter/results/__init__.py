"""Results: counts -> scores and gains -> verdict -> text, tables, page."""
