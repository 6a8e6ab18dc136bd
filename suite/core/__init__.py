"""What suite and analysis share: trials, records, settings, errors, the registry. Standard library only."""
