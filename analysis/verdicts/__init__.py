"""What may be said of a cell and of a variant, and why: audit, pairs, verdicts, rankings, power."""
