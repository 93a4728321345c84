"""A folder of images, one folder per class; see :mod:`components.image_example_gen.folders` for which is which."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from components import files
from components.errors import DataError
from components.formats.data_format import DataFormat, Row


class ImageFolder(DataFormat):
    """A row is a file; ImageExampleGen reads them in the order that the splits ask for."""

    name = "image_folder"
    description = "images"
    default_pattern = "*/*"
    is_image_folder = True

    def check_file(self, path: Path) -> None:
        """What its header tells."""
        from components.image_example_gen.images import examine_header

        header = examine_header(path)
        if isinstance(header, str):
            raise DataError(f"{path}: {header}.")

    def rows(self, path: str, part: int) -> Iterator[Row]:
        yield Row("the file", {"image": [files.read_bytes(path)]})
