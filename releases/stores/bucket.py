"""Keeps releases in a bucket: S3, Google Cloud Storage or Azure, through fsspec and its libraries (``edgeproof[buckets]``).

A bucket has no lock. What it has is create-if-absent (S3: If-None-Match, GCS: ifGenerationMatch=0), and that is what a
release repository builds on: creating the next snapshot decides who came first. Rules, in order: 1. ``create`` asks the
bucket, never looks first. 2. A create that seems refused may have been ours, answered late: equal bytes are a success.
3. Only schemes whose library makes a conditional create (``location.STORES``): fsspec's create is not atomic on ``file://``.
4. ``check`` proves that a second create is refused; some servers that speak S3 ignore the condition and overwrite.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from edgeproof_edge.errors import EdgeproofError, SurroundingsError

from releases.stores.protocol import AlreadyStored, CommitProtocol, CompareAndSwap, NotStored

#: Address of a server that speaks S3 but is not AWS.
ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL"

_REFUSALS = ("PreconditionFailed", "pre-condition", "precondition", "ConditionNotMet", "BlobAlreadyExists")
_RACES = ("ConditionalRequestConflict",)  # two conditional writes at once: S3 answers 409 to one of them
_MAX_RACES = 20


class BucketStore:
    """A store in a bucket. One object serves one thread."""

    def __init__(self, address: str) -> None:
        """Opens the bucket; nothing is read yet.

        Raises:
            SurroundingsError: The library for it is not installed.
        """
        self._address = address.rstrip("/")
        self._files, self._root = _open(self._address)

    @property
    def location(self) -> str:
        return self._address

    @property
    def protocol(self) -> CommitProtocol:
        return CompareAndSwap()

    def read(self, path: str) -> bytes:
        """Returns the bytes of one file.

        Raises:
            NotStored: There is no such file.
            SurroundingsError: The bucket does not answer, or refuses.
        """
        with self._explaining(f"read {path} in"):
            try:
                return bytes(self._files.cat_file(self._at(path)))
            except FileNotFoundError:
                raise NotStored(f"{self._address} has no file {path}. Is this a release repository?") from None

    def create(self, path: str, data: bytes) -> None:
        """Writes a new file that nothing will ever overwrite; the same bytes again change nothing.

        Raises:
            AlreadyStored: The file exists with other bytes.
            SurroundingsError: The bucket does not answer, or refuses.
        """
        with self._explaining(f"write {path} in"):
            for _ in range(_MAX_RACES):
                try:
                    self._files.pipe_file(self._at(path), data, mode="create")
                    return
                except Exception as error:  # each cloud's library has its own errors
                    if _is_among(error, _RACES):
                        continue
                    if not isinstance(error, FileExistsError) and not _is_among(error, _REFUSALS):
                        raise
                if self.read(path) == data:
                    return
                raise AlreadyStored(f"{self._address}/{path} exists with other bytes; it is never overwritten.")
            raise SurroundingsError(
                f"{self._address} refused to write {path} {_MAX_RACES} times. Run this again later."
            )

    def replace(self, path: str, data: bytes) -> None:
        """Swaps a file's content in one step: readers get the old bytes or the new ones."""
        with self._explaining(f"replace {path} in"):
            self._files.pipe_file(self._at(path), data)

    def list(self, path: str) -> tuple[str, ...]:
        """Returns the sorted names below a prefix, none when there are none."""
        with self._explaining(f"list {path} in"):
            self._files.invalidate_cache()
            try:
                paths = self._files.ls(self._at(path), detail=False, refresh=True)
            except FileNotFoundError:
                return ()
            return tuple(sorted(path.rstrip("/").rpartition("/")[2] for path in paths))

    def remove(self, path: str) -> None:
        """Removes one file; none of that name is fine."""
        with self._explaining(f"remove {path} in"):
            try:
                self._files.rm_file(self._at(path))
            except FileNotFoundError:
                return

    def check(self) -> None:
        """Proves that the bucket refuses a second create.

        Raises:
            SurroundingsError: It does not, or cannot be written.
        """
        probe = f"metadata/probe-{uuid4().hex}"
        self.create(probe, b"first")
        try:
            self.create(probe, b"second")
        except AlreadyStored:
            return
        finally:
            self.remove(probe)
        raise SurroundingsError(
            f"{self._address} overwrites where it should refuse (If-None-Match is ignored): two publishers would lose "
            "releases there. Use a server that honors conditional writes, or a directory."
        )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps nobody out: who creates the next snapshot first is first."""
        self._files.invalidate_cache()
        yield

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"

    @contextmanager
    def _explaining(self, action: str) -> Iterator[None]:
        try:
            yield
        except EdgeproofError:
            raise
        except Exception as error:  # each cloud's library has its own errors
            reason = " ".join(str(error).split()) or type(error).__name__
            raise SurroundingsError(
                f"cannot {action} {self._address}: {reason[:300]}. Check the address, the login and the permissions; "
                "no published release was lost."
            ) from error


def _open(address: str) -> tuple[Any, str]:
    options: dict[str, Any] = {"use_listings_cache": False}
    endpoint = os.environ.get(ENDPOINT_VARIABLE)
    if address.startswith("s3://") and endpoint:
        options["endpoint_url"] = endpoint
    try:
        import fsspec

        files, root = fsspec.core.url_to_fs(address, **options)
    except ImportError as error:
        raise SurroundingsError(
            f"{address} needs a library that is not installed ({error}). "
            "pip install 'edgeproof[buckets]' (and gcsfs for gs://, adlfs for az://)."
        ) from error
    return files, str(root)


def _is_among(error: BaseException, words: tuple[str, ...]) -> bool:
    """Whether an error, or what caused it, says one of the words: s3fs wraps botocore's in OSError."""
    causes = [error, error.__cause__, error.__context__]
    return any(word in f"{cause!r} {cause}" for cause in causes if cause is not None for word in words)
