"""Search: the best subnet of a supernet for a budget."""
