"""The training core: recipes, loop, evaluation, checkpoints, device. Needs neither Ray nor MLflow."""
