"""A backbone and a variant become one network, and what it costs is counted."""
