"""Scores of trained networks on held-out cases, and their report."""
