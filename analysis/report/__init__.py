"""The parts of the report: its answer, links, figures, prose, background, and its LaTeX form."""
