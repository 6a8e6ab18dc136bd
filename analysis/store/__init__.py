"""A folder of records on disk: what `analysis.collect` writes, brings up to date and `analysis.select` reads."""
