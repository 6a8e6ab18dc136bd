"""The tests: paired over seeds, across datasets, and which part of a table with gaps can be tested."""
