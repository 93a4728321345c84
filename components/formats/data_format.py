"""The seam of data formats: whatever differs between them is said in one class per format.

A format checks files from outside, plans how workers share a file, and reads its rows. Splits, labels, categories, missing
values, sizes of images and leaks between splits are the same for all and are no format's business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from components.errors import DataError

CORRECT = "Correct data.pattern or data.format."


@dataclass(frozen=True)
class Row:
    """One example as it is stored.

    Attributes:
        place: Where it stands in its file, as in "line 7".
        values: Column -> its values; none where the row has none. ``int``, ``float``, ``str`` or ``bytes``.
        is_text: Whether every value is text that stands for whatever the column holds, as in CSV.
    """

    place: str
    values: Mapping[str, Sequence[Any]]
    is_text: bool = False


class DataFormat(ABC):
    """What one format is; stateless, so that a worker makes its own from the name."""

    #: The format's name in ``data.format``.
    name: ClassVar[str]
    #: What the files hold, in a message.
    description: ClassVar[str]
    #: ``data.pattern`` where the config has none.
    default_pattern: ClassVar[str] = "*"
    #: Whether a column holds one value per row and nothing else.
    holds_scalars_only: ClassVar[bool] = False
    #: Whether every file is one image and its folder its label.
    is_image_folder: ClassVar[bool] = False

    @abstractmethod
    def check_file(self, path: Path) -> None:
        """Refuses a file that is not of this format, as far as its first bytes tell.

        Raises:
            DataError: It is not.
        """

    def columns(self, path: Path) -> Sequence[str] | None:
        """The columns of a file, where reading little of it tells them."""
        return None

    def parts(self, path: str) -> Sequence[int]:
        """How workers can share one file: numbers that :meth:`rows` takes. One part where a file cannot be divided."""
        return (0,)

    @abstractmethod
    def rows(self, path: str, part: int) -> Iterator[Row]:
        """The rows of one part of a file, in its order.

        Raises:
            DataError: The file or a row cannot be read; the message names the place.
        """

    def unreadable(self, path: str, reason: str) -> DataError:
        """The error about a file that is not what it should be."""
        return DataError(f"{path} cannot be read as {self.description}: {reason}. {CORRECT}")
