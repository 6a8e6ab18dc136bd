"""What a study will take before it is run, in hours and bytes: from timings of its networks, or from earlier trials."""
