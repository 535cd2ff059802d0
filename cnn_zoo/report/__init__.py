"""Runs side by side: a page, a table, pictures. Torch-free."""
