"""The papers' tables as printed, one YAML file per paper, and a study compared with one."""
