"""Search: the best part of a supernet for a budget."""
