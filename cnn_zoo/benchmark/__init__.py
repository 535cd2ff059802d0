"""Benchmarks: how fast an experiment trains, and how fast networks answer."""
