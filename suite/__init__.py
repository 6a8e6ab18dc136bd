"""Graftbench's suite: plans, trains and tracks the grid of a study."""

__version__ = "0.2.0.dev0"
