"""Graftbench's suite: plans, trains and tracks the grid of a study."""
