"""What a confirm trial answered on the test part, image by image."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

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
# Of the file: a third of the size of pyarrow's defaults. Labels then take so little that each file keeps its own.
_ENCODINGS = {"index": "DELTA_BINARY_PACKED", "confidence": "BYTE_STREAM_SPLIT"}
_PROBABILITY_ENCODING = {"probabilities.list.element": "BYTE_STREAM_SPLIT"}
PROBABILITIES = "probabilities"  # a further column, where they are kept: float16, one of each class
AFFORDABLE = 20_000_000  # bytes of probabilities of one trial that are kept unless a study says otherwise

Wanted = Literal["auto", "all", "none"]


def keeps_probabilities(wanted: Wanted, images: int, classes: int) -> bool:
    """Whether a trial keeps every class's probability of every test image: under `auto`, where they are affordable."""
    if wanted == "auto":
        return 2 * images * classes <= AFFORDABLE
    return wanted == "all"


def write_predictions(path: Path, labels: Tensor, evaluation: Evaluation) -> None:
    """Whole or not at all. `labels` (n,) in the order of the evaluation; with probabilities where it has them."""
    columns = [range(len(labels)), labels.numpy(), evaluation.predictions.numpy(), evaluation.confidence.numpy()]
    arrays = [pyarrow.array(column, type=kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
    table, encodings = pyarrow.Table.from_arrays(arrays, schema=SCHEMA), _ENCODINGS
    if evaluation.probabilities is not None:
        table = table.append_column(PROBABILITIES, _pack_rows(evaluation.probabilities))
        encodings = encodings | _PROBABILITY_ENCODING
    with replace_file(path) as beside:
        parquet.write_table(
            table, beside, compression="zstd", use_dictionary=["label", "prediction"], column_encoding=encodings
        )


def _pack_rows(probabilities: Tensor) -> pyarrow.Array:
    """float16 (n, classes) as one list per image."""
    values = pyarrow.array(probabilities.numpy().ravel(), type=pyarrow.float16())
    return pyarrow.FixedSizeListArray.from_arrays(values, probabilities.shape[1])
