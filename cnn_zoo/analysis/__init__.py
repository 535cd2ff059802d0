"""The cost of a network, mostly counted without running it; batch norm folding; timing of calls; pictures."""
