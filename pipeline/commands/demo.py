"""``edgeproof demo``: the whole chain on embedded data."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.options import json_option, log_level_option, set_option
from pipeline.commands.run import run_config


@click.command(epilog="Example: edgeproof demo")
@set_option
@log_level_option
@json_option
def command(overrides: tuple[str, ...], log_level: str | None, as_json: bool) -> None:
    """Train on 1,797 real 8x8 images of digits, quantize, judge on the holdout and publish: examples/digits, start to end.

    The second run is served from the cache.
    """
    from pipeline.demo import CONFIG, write_images

    images = write_images(Path.cwd() / ".edgeproof" / "digits" / "images")
    run_config(CONFIG, (f"data.path={images}", *overrides), log_level, as_json)
