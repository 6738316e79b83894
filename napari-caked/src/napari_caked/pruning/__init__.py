"""Pruning: which picks of any program are particles, from patches around them and a few labels, or none."""
