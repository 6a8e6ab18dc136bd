"""Analysis: records in, verdicts, tables, figures and reports out. Never imports torch or Ray."""
