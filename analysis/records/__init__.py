"""A folder of records on disk: what `analysis.records.collect` writes and `load` reads."""
