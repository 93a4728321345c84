"""``edgeproof kubeflow submit|runs|status|logs``: runs on a server, and what became of them."""

from __future__ import annotations

from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.kubeflow.access import Access, access_options, experiment_of
from pipeline.commands.kubeflow.compiling import compiled, granularity_option, image_option, uploaded
from pipeline.commands.options import (
    config_argument,
    data_span_option,
    finish,
    json_option,
    print_json,
    reason_option,
    set_option,
    trigger_key_option,
)

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig
    from pipeline.kubeflow.api import Client, RunState

wait_option = click.option(
    "--wait",
    is_flag=True,
    help="Wait for the end; exit code 0: accepted, 1: refused, 3: broken, or no verdict to be had.",
)
metadata_option = click.option(
    "--metadata",
    envvar="EDGEPROOF_METADATA",
    help="Address of the run's ML Metadata, to read the verdict from; without it, the log of the run's pods tells it.",
)
run_argument = click.argument("run_id", metavar="RUN")


@click.command("submit", epilog="Example: edgeproof kubeflow submit config.yaml --host http://localhost:8888 --wait")
@config_argument
@set_option
@image_option
@granularity_option
@access_options
@reason_option
@trigger_key_option
@data_span_option
@wait_option
@metadata_option
@json_option
def submit(
    config: str,
    overrides: tuple[str, ...],
    image: str | None,
    granularity: str,
    access: Access,
    reason: str | None,
    trigger_key: str,
    data_span: str,
    wait: bool,
    metadata: str | None,
    as_json: bool,
) -> None:
    """Compile CONFIG, upload it where it changed, and start a run of it."""
    from pipeline.commands.kubeflow.waiting import show_run

    loaded, text = compiled(config, overrides, image, granularity)
    client = access.client(loaded)
    pipeline_id, version = uploaded(client, loaded, text)
    now = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}"
    name = f"{loaded.name}-{_slug(trigger_key) if trigger_key else f'{now}-{version}'}"
    parameters = {"reason": reason or "by hand", "trigger_key": trigger_key, "data_span": data_span}
    run = client.start(pipeline_id, experiment_of(client, loaded), name, parameters, loaded.kubeflow.service_account)
    finish(show_run(client, run, wait=wait, metadata=metadata, as_json=as_json))


@click.command("runs", epilog="Example: edgeproof kubeflow runs config.yaml")
@config_argument
@set_option
@access_options
@json_option
def runs(config: str, overrides: tuple[str, ...], access: Access, as_json: bool) -> None:
    """List the runs of CONFIG on Kubeflow, newest first."""
    from pipeline.commands.kubeflow.waiting import run_dict, word
    from pipeline.config_file import load_config

    loaded = load_config(Path(config), overrides)
    client = access.client(loaded)
    experiment = client.find_experiment(loaded.kubeflow.experiment or loaded.name)
    listed = client.runs(experiment) if experiment is not None else []
    if as_json:
        print_json([run_dict(run) for run in listed])
        return
    for run in listed:
        created = f"{run.created:%Y-%m-%d %H:%M}" if run.created else "-"
        click.echo(f"{run.run_id}  {created}  {word(run.state):<10}  {run.name}")
    if not listed:
        click.echo(f"no runs of {loaded.name} yet; start one with edgeproof kubeflow submit {config}")


@click.command("status", epilog="Example: edgeproof kubeflow status config.yaml RUN --wait")
@config_argument
@run_argument
@set_option
@access_options
@wait_option
@metadata_option
@json_option
def status(
    config: str,
    run_id: str,
    overrides: tuple[str, ...],
    access: Access,
    wait: bool,
    metadata: str | None,
    as_json: bool,
) -> None:
    """Show the nodes and the verdict of RUN, an id or a name of edgeproof kubeflow runs; with --wait, after its end."""
    from pipeline.commands.kubeflow.waiting import show_run
    from pipeline.config_file import load_config

    loaded = load_config(Path(config), overrides)
    client = access.client(loaded)
    finish(show_run(client, _run_of(client, loaded, run_id), wait=wait, metadata=metadata, as_json=as_json))


@click.command("logs", epilog="Example: edgeproof kubeflow logs config.yaml RUN --node Trainer --follow")
@config_argument
@run_argument
@set_option
@access_options
@click.option("--node", help="Only of this node, such as Trainer.")
@click.option("--follow", is_flag=True, help="Go on until the run has ended.")
def logs(config: str, run_id: str, overrides: tuple[str, ...], access: Access, node: str | None, follow: bool) -> None:
    """Print what the pods of RUN printed, node by node; exit code 3 where no log is kept."""
    from pipeline.commands.kubeflow.following import Follower
    from pipeline.config_file import load_config

    loaded = load_config(Path(config), overrides)
    client = access.client(loaded)
    follower = Follower(client, node, access.namespace or loaded.kubeflow.namespace)
    finish(follower.print_run(_run_of(client, loaded, run_id), follow=follow))


def _run_of(client: Client, config: PipelineConfig, run: str) -> RunState:
    """The run of an id, or the newest of a name."""
    from pipeline.errors import ConfigError

    if _is_id(run):
        return client.run(run)
    experiment = client.find_experiment(config.kubeflow.experiment or config.name)
    named = client.runs(experiment, run) if experiment is not None else []
    if not named:
        raise ConfigError(f"no run of {config.name} is called {run!r}; edgeproof kubeflow runs lists them.")
    return client.run(named[0].run_id)


def _is_id(text: str) -> bool:
    from uuid import UUID

    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _slug(key: str) -> str:
    """A key as part of a run's name; a long or unusual one by its digest."""
    if len(key) <= 40 and all(character.isalnum() or character in "-._" for character in key):
        return key
    return sha256(key.encode()).hexdigest()[:16]
