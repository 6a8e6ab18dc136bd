"""What a confirm trial answered on the test part, image by image."""

from __future__ import annotations

from pathlib import Path

import pyarrow
from pyarrow import parquet
from torch import Tensor

from suite.core.files import replace_file
from suite.training.loop import Evaluation

SCHEMA = pyarrow.schema(
    [
        ("index", pyarrow.int32()),  # position in the test part, file order
        ("label", pyarrow.int32()),
        ("prediction", pyarrow.int32()),
        ("confidence", pyarrow.float32()),  # the predicted class's softmax probability
    ]
)


def write_predictions(path: Path, labels: Tensor, evaluation: Evaluation) -> None:
    """Whole or not at all. `labels` (n,) in the order of the evaluation."""
    columns = [range(len(labels)), labels.numpy(), evaluation.predictions.numpy(), evaluation.confidence.numpy()]
    arrays = [pyarrow.array(column, type=kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
    with replace_file(path) as beside:
        parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=SCHEMA), beside)
