"""The table of formats: adding one is a file beside this one, and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from components.formats.csv_files import Csv
from components.formats.data_format import DataFormat
from components.formats.image_folder import ImageFolder
from components.formats.parquet import Parquet
from components.formats.tfrecord import TFRecord

#: By the name that ``data.format`` gives.
FORMATS: Mapping[str, DataFormat] = {
    each.name: each
    for each in (
        ImageFolder(),
        TFRecord(),
        Csv(),
        Parquet(),
    )
}
