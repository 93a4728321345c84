"""Writes the embedded digits out as the image folder that a user would have.

The images are the test part of the UCI "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998; CC BY 4.0): 1,797
digits of 8 x 8 pixels, written by 13 people, with 17 levels of gray.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import examples

EXAMPLE = Path(examples.__file__).parent / "digits"
CONFIG = EXAMPLE / "config.yaml"
ARCHIVE = EXAMPLE / "digits.npz"


def write_images(directory: Path) -> Path:
    """Writes ``<directory>/<label>/<number>.png`` once, in one step; existing images stay, so that the cache holds.

    Returns:
        ``directory``.
    """
    if directory.is_dir():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".images-", dir=directory.parent))
    try:
        _write_pngs(unfinished)
        os.replace(unfinished, directory)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return directory


def _write_pngs(directory: Path) -> None:
    with np.load(ARCHIVE, allow_pickle=False) as archive:
        images, labels = archive["images"], archive["labels"]
    gray = np.rint(images * (255 / 16)).astype(np.uint8)  # 17 levels onto 0..255
    for number, (pixels, label) in enumerate(zip(gray, labels, strict=True)):
        folder = directory / str(label)
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number:04d}.png")
