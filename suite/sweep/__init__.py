"""The sweep: Ray Tune (or one process) runs a plan's trials, with an Optuna study and an ASHA per cell."""
