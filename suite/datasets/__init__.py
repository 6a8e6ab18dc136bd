"""Datasets, one file each. A file defines

- `SETTINGS: dict[str, Setting]`: its settings;
- `facts(root, **settings) -> DatasetInfo`: what planning needs; reads no images;
- `source(root, part, **settings) -> ImageSource`: the images of "train" or "test" in a fixed order, not yet
  decoded. Cheap; raises `UserError`, naming path and remedy, when files are missing or broken;
- `fetch(root)`, only where the files can be downloaded: puts them below `root` in the layout that `source` reads.

`suite/data/source.py` has `DatasetInfo`, and `Arrays` and `ImageFiles` to return; docs/datasets.md an example.
`root` is the data directory (`GRAFTBENCH_DATA` or `--data`, default `./data`); studies carry names, not paths.
"""
