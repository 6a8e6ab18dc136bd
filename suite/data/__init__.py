"""The machinery of datasets: files to decoded images, split, cached, listed and fetched."""
