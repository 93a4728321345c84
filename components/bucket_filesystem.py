"""Buckets as TFX file systems, through fsspec: TensorFlow itself opens Google Cloud Storage and no other kind.

TFX's launcher, its drivers and whoever uses fileio then reach ``s3://``, ``az://`` and (for tests and trials) ``memory://``. A bucket has
no directories: making one does nothing, and one is there while something lies under it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from edgeproof_edge.addresses import is_address
from edgeproof_edge.errors import SurroundingsError
from tfx.dsl.io import fileio, filesystem, filesystem_registry

#: Address of a server that speaks S3 but is not AWS.
ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL"
#: Below TensorFlow's 10: the lower number is asked first.
_PRIORITY = 0


class BucketFilesystem(filesystem.Filesystem):
    """What TFX asks of a file system, answered by fsspec."""

    SUPPORTED_SCHEMES = ["s3://", "az://", "abfs://", "memory://"]

    @staticmethod
    def open(name: filesystem.PathType, mode: str = "r") -> Any:
        try:
            return _files(name).open(_text(name), mode)
        except FileNotFoundError as error:
            raise fileio.NotFoundError(str(error)) from error

    @staticmethod
    def copy(src: filesystem.PathType, dst: filesystem.PathType, overwrite: bool = False) -> None:
        if not overwrite and BucketFilesystem.exists(dst):
            raise OSError(f"{_text(dst)} is there already")
        with BucketFilesystem.open(src, "rb") as source, BucketFilesystem.open(dst, "wb") as target:
            target.write(source.read())

    @staticmethod
    def exists(path: filesystem.PathType) -> bool:
        return bool(_files(path).exists(_text(path)))

    @staticmethod
    def glob(pattern: filesystem.PathType) -> list[filesystem.PathType]:
        return [_with_scheme(pattern, path) for path in _files(pattern).glob(_text(pattern))]

    @staticmethod
    def isdir(path: filesystem.PathType) -> bool:
        return bool(_files(path).isdir(_text(path)))

    @staticmethod
    def listdir(path: filesystem.PathType) -> list[filesystem.PathType]:
        try:
            listed = _files(path).ls(_text(path), detail=False)
        except FileNotFoundError as error:
            raise fileio.NotFoundError(str(error)) from error
        return sorted(name.rstrip("/").rpartition("/")[2] for name in listed)

    @staticmethod
    def makedirs(path: filesystem.PathType) -> None:
        """A bucket has no directories."""

    @staticmethod
    def mkdir(path: filesystem.PathType) -> None:
        """A bucket has no directories."""

    @staticmethod
    def remove(path: filesystem.PathType) -> None:
        _files(path).rm_file(_text(path))

    @staticmethod
    def rename(src: filesystem.PathType, dst: filesystem.PathType, overwrite: bool = False) -> None:
        if not overwrite and BucketFilesystem.exists(dst):
            raise OSError(f"{_text(dst)} is there already")
        _files(src).mv(_text(src), _text(dst), recursive=BucketFilesystem.isdir(src))

    @staticmethod
    def rmtree(path: filesystem.PathType) -> None:
        if BucketFilesystem.exists(path):
            _files(path).rm(_text(path), recursive=True)

    @staticmethod
    def stat(path: filesystem.PathType) -> Any:
        return _files(path).info(_text(path))

    @staticmethod
    def walk(
        top: filesystem.PathType,
        topdown: bool = True,
        onerror: Callable[..., None] | None = None,  # noqa: ARG004
    ) -> Iterable[tuple[filesystem.PathType, list[filesystem.PathType], list[filesystem.PathType]]]:
        for folder, folders, names in _files(top).walk(_text(top), topdown=topdown):
            yield _with_scheme(top, folder), list(folders), [name for name in names if name]


@lru_cache(maxsize=1)
def register() -> None:
    """Makes TFX's fileio open buckets, once per process."""
    filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(BucketFilesystem, priority=_PRIORITY)


def _text(path: filesystem.PathType) -> str:
    return path.decode() if isinstance(path, bytes) else str(path)


def _with_scheme(address: filesystem.PathType, path: str) -> str:
    scheme = _text(address).partition("://")[0]
    return path if is_address(path) else f"{scheme}://{path.lstrip('/')}"


def _files(address: filesystem.PathType) -> Any:
    scheme = _text(address).partition("://")[0]
    return _opened(scheme, os.environ.get(ENDPOINT_VARIABLE) if scheme == "s3" else None)


@lru_cache(maxsize=8)
def _opened(scheme: str, endpoint: str | None) -> Any:
    """Listings are not kept: other nodes and workers write, too."""
    try:
        import fsspec

        return fsspec.filesystem(scheme, use_listings_cache=False, **({"endpoint_url": endpoint} if endpoint else {}))
    except ImportError as error:
        raise SurroundingsError(
            f"{scheme}:// needs a library that is not installed ({error}). pip install 'edgeproof[buckets]' (and adlfs for az://)."
        ) from error
