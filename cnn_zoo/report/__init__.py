"""A report that compares runs: a page, a table and pictures. It imports no torch."""
