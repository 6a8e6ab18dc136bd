"""Tracking: MLflow, and the searches in an Optuna storage; written by the driver alone."""
