"""``edgeproof kubeflow compile|cronjob|metadata``: what needs no server of Kubeflow Pipelines."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.options import config_argument, finish, set_option

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig
    from pipeline.kubeflow.api import Client

image_option = click.option("--image", help="Image of the pods; overrides kubeflow.image.")
granularity_option = click.option(
    "--granularity",
    type=click.Choice(["node", "pipeline"]),
    default="node",
    show_default=True,
    help="A pod per node, or one for the whole run.",
)


@click.command("compile", epilog="Example: edgeproof kubeflow compile config.yaml -o pipeline.yaml")
@config_argument
@set_option
@click.option("-o", "--out", type=click.Path(dir_okay=False), help="File to write; by default it is printed.")
@image_option
@granularity_option
def compile_command(
    config: str, overrides: tuple[str, ...], out: str | None, image: str | None, granularity: str
) -> None:
    """Write CONFIG as a pipeline that Kubeflow takes: a PipelineSpec and what its pods are made of, the same bytes each time."""
    _loaded, text = compiled(config, overrides, image, granularity)
    if out is None:
        click.echo(text, nl=False)
    else:
        _write(Path(out), text)
        click.echo(f"wrote {out} ({len(text.encode()):,} bytes)", err=True)
    finish(0)


@click.command(
    "cronjob", epilog="Example: edgeproof kubeflow cronjob config.yaml --cron '0 3 * * *' | kubectl apply -f -"
)
@config_argument
@set_option
@click.option("--cron", required=True, help="Five fields: minute, hour, day of the month, month, day of the week.")
@image_option
def cronjob_command(config: str, overrides: tuple[str, ...], cron: str, image: str | None) -> None:
    """Print the chain of CONFIG as a Kubernetes CronJob, for clusters without Kubeflow Pipelines."""
    from pipeline.config_file import load_config
    from pipeline.errors import ConfigError
    from pipeline.kubeflow.cron import Schedule

    schedule = Schedule.parse(cron)
    loaded = load_config(Path(config), overrides)
    image = image or loaded.kubeflow.image
    if image is None:
        raise ConfigError(
            "kubeflow.image is missing: the pods need an image. Give it, best with its digest, or --image."
        )
    _quiet()
    from pipeline.kubeflow.compilation import compiled_for_pods, data_section
    from pipeline.kubeflow.cronjob import cronjob

    directory = Path(config).resolve().parent
    ir = compiled_for_pods(loaded, directory, image)
    click.echo(cronjob(ir, loaded, image, schedule, data_section(loaded, directory)), nl=False)
    finish(0)


@click.group("metadata", epilog="Example: edgeproof kubeflow metadata init postgresql://mlmd@db/mlmd")
def metadata_group() -> None:
    """Prepare where runs are recorded."""


@metadata_group.command("init", epilog="Example: edgeproof kubeflow metadata init postgresql://mlmd@db/mlmd")
@click.argument("url", required=False)
def metadata_init(url: str | None) -> None:
    """Make ML Metadata's tables at URL, once, before the first pods do it all at once.

    URL is mysql://user@host/database, postgresql://user@host/database, grpc://host:8080 or sqlite:///file; without it, what
    EDGEPROOF_METADATA or Kubeflow's own variables name. The password is EDGEPROOF_METADATA_PASSWORD.
    """
    from pipeline.mlmd import MetadataLocation, RunStore
    from pipeline.node_entrypoint import PASSWORD_VARIABLE, metadata_location

    location = MetadataLocation(url, os.environ.get(PASSWORD_VARIABLE, "")) if url else metadata_location()
    num_runs = RunStore(location).prepare()
    click.echo(f"ML Metadata at {location.url} is ready and holds {num_runs} runs")


def compiled(
    config: str, overrides: tuple[str, ...], image: str | None, granularity: str
) -> tuple[PipelineConfig, str]:
    """The config and its pipeline as YAML."""
    from pipeline.config_file import load_config

    loaded = load_config(Path(config), overrides)
    _quiet()
    from pipeline.kubeflow.compilation import compile_for_kubeflow
    from pipeline.kubeflow.specification import Granularity

    return loaded, compile_for_kubeflow(loaded, Path(config).resolve().parent, image, Granularity(granularity))


def uploaded(client: Client, config: PipelineConfig, text: str) -> tuple[str, str]:
    """The pipeline's id and its version, which is named by its content."""
    version = sha256(text.encode()).hexdigest()[:12]
    return client.upload(config.name, text, f"{config.name}-{version}"), version


def _write(file: Path, text: str) -> None:
    from pipeline.errors import ConfigError

    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}.") from error


def _quiet() -> None:
    from components.compat import quiet_libraries

    quiet_libraries()
