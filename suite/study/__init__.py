"""A study file becomes a plan, and the plan is checked before anything starts."""
