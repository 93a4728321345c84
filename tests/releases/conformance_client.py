"""The device's TUF client behind the command line that TUF's conformance suite calls. No test itself.

https://github.com/theupdateframework/tuf-conformance/blob/main/CLIENT-CLI.md

The suite's repositories have no channels, so a target is looked up and fetched by name; everything else (the trusted root, the
directories, the fetcher, the check of the clock, the names of errors) is what ``Updater`` does on a device.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgeproof_edge.errors import EdgeproofError
from edgeproof_edge.updating.fetcher import Fetcher
from edgeproof_edge.updating.updater import Subscription, Updater
from tuf.ngclient import Updater as TufClient

ROOT_FILE = "device-root.json"


@contextmanager
def device_client(home: Path, url: str) -> Iterator[TufClient]:
    """The client that a device in ``home`` would use, with its errors."""
    updater = Updater(home, Subscription(url, "model", "channel", "device"), (home / ROOT_FILE).read_bytes())
    with updater._only_one(), Fetcher(updater._deadline_seconds) as fetcher:
        yield updater._client(fetcher)


def download(client: TufClient, names: Sequence[str], directory: Path) -> bool:
    """Fetches targets by name; whether all of them are there."""
    for name in names:
        target = client.get_targetinfo(name)
        if target is None:
            print(f"there is no target {name}", file=sys.stderr)
            return False
        file = str(directory / name.replace("/", "%2F"))
        if client.find_cached_target(target, file) is None:
            client.download_target(target, file)
    return True


def main(arguments: Sequence[str]) -> int:
    """Runs one command; 0 where the client accepted what it saw."""
    options = _parser().parse_args(arguments)
    home = options.metadata_dir.resolve().parent
    if options.command == "init":
        shutil.copyfile(options.trusted_root, home / ROOT_FILE)
        return 0
    try:
        with device_client(home, options.metadata_url.rstrip("/").removesuffix("/metadata")) as client:
            client.refresh()
            if options.command == "download":
                return 0 if download(client, options.target_name, options.target_dir) else 1
            return 0
    except EdgeproofError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--metadata-url")
    parser.add_argument("--metadata-dir", required=True, type=Path)
    parser.add_argument("--target-name", action="append")
    parser.add_argument("--target-dir", type=Path)
    parser.add_argument("--target-base-url")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("trusted_root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
