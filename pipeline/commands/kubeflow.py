"""``edgeproof kubeflow``: compile, upload, run, schedule and watch a pipeline on Kubeflow Pipelines."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.options import (
    config_argument,
    finish,
    json_option,
    print_json,
    reason_option,
    set_option,
    trigger_key_option,
)

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig
    from pipeline.kubeflow.api import Client, RunState, ScheduleState

#: Kubeflow's own variables for where it is and who asks.
_HOST_VARIABLES = ("EDGEPROOF_KUBEFLOW_HOST", "KF_PIPELINES_ENDPOINT")
_TOKEN_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"
_POLL_SECONDS = 5.0
#: Kubeflow's drivers and the run itself are listed among the tasks.
_NO_NODES = ("root", "root-driver")

image_option = click.option("--image", help="Image of the pods; overrides kubeflow.image.")
granularity_option = click.option(
    "--granularity",
    type=click.Choice(["node", "pipeline"]),
    default="node",
    show_default=True,
    help="A pod per node, or one for the whole run.",
)
host_option = click.option(
    "--host", envvar=_HOST_VARIABLES, help=f"Address of Kubeflow Pipelines.  [default: ${_HOST_VARIABLES[0]}]"
)
token_option = click.option(
    "--token-file",
    envvar=_TOKEN_VARIABLE,
    type=click.Path(dir_okay=False),
    help=f"File with a bearer token.  [default: ${_TOKEN_VARIABLE}]",
)
namespace_option = click.option("--namespace", help="Namespace; overrides kubeflow.namespace.")
wait_option = click.option(
    "--wait", is_flag=True, help="Wait for the end; exit code 0: accepted, 1: refused, 3: broken."
)
metadata_option = click.option(
    "--metadata",
    envvar="EDGEPROOF_METADATA",
    help="Address of the run's ML Metadata, to read the verdict from; without it, Kubeflow's page of the run shows the verdict.",
)


@click.group(
    epilog="Example: edgeproof kubeflow compile config.yaml -o pipeline.yaml --image registry/edgeproof@sha256:..."
)
def command() -> None:
    """Run and schedule a pipeline on Kubeflow Pipelines 2.5 or newer, or as a Kubernetes CronJob."""


@command.command("compile", epilog="Example: edgeproof kubeflow compile config.yaml -o pipeline.yaml")
@config_argument
@set_option
@click.option("-o", "--out", type=click.Path(dir_okay=False), help="File to write; by default it is printed.")
@image_option
@granularity_option
def compile_command(
    config: str, overrides: tuple[str, ...], out: str | None, image: str | None, granularity: str
) -> None:
    """Write CONFIG as a pipeline that Kubeflow takes: a PipelineSpec and what its pods are made of, the same bytes each time."""
    _loaded, text = _compiled(config, overrides, image, granularity)
    if out is None:
        click.echo(text, nl=False)
    else:
        Path(out).write_text(text, encoding="utf-8")
        click.echo(f"wrote {out} ({len(text.encode()):,} bytes)", err=True)
    finish(0)


@command.command(
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


@command.group("metadata", epilog="Example: edgeproof kubeflow metadata init postgresql://mlmd@db/mlmd")
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


@command.command("submit", epilog="Example: edgeproof kubeflow submit config.yaml --host http://localhost:8888 --wait")
@config_argument
@set_option
@image_option
@granularity_option
@host_option
@token_option
@namespace_option
@reason_option
@trigger_key_option
@wait_option
@metadata_option
@json_option
def submit(
    config: str,
    overrides: tuple[str, ...],
    image: str | None,
    granularity: str,
    host: str | None,
    token_file: str | None,
    namespace: str | None,
    reason: str | None,
    trigger_key: str,
    wait: bool,
    metadata: str | None,
    as_json: bool,
) -> None:
    """Compile CONFIG, upload it where it changed, and start a run of it."""
    loaded, text = _compiled(config, overrides, image, granularity)
    client = _client(loaded, host, token_file, namespace)
    pipeline_id, version = _uploaded(client, loaded, text)
    now = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}"
    name = f"{loaded.name}-{_slug(trigger_key) if trigger_key else f'{now}-{version}'}"
    parameters = {"reason": reason or "by hand", "trigger_key": trigger_key}
    run = client.start(pipeline_id, _experiment(client, loaded), name, parameters, loaded.kubeflow.service_account)
    _end(client, run, wait, metadata, as_json)


@command.command("schedule", epilog="Example: edgeproof kubeflow schedule config.yaml --cron '0 3 * * *'")
@config_argument
@set_option
@click.option("--cron", help="Five fields: minute, hour, day of the month, month, day of the week.")
@click.option(
    "--check", "is_check", is_flag=True, help="Change nothing; find a schedule that is listed and does not fire."
)
@image_option
@granularity_option
@host_option
@token_option
@namespace_option
@json_option
def schedule(
    config: str,
    overrides: tuple[str, ...],
    cron: str | None,
    is_check: bool,
    image: str | None,
    granularity: str,
    host: str | None,
    token_file: str | None,
    namespace: str | None,
    as_json: bool,
) -> None:
    """Compile and upload CONFIG, and have Kubeflow run its newest version by the clock: one run at a time, nothing caught up."""
    from pipeline.config_file import load_config
    from pipeline.errors import ConfigError
    from pipeline.kubeflow.cron import Schedule

    if is_check:
        loaded = load_config(Path(config), overrides)
        _check_schedule(_client(loaded, host, token_file, namespace), loaded, as_json)
        return
    if cron is None:
        raise ConfigError("--cron is missing: say when, such as --cron '0 3 * * *' for three o'clock every night.")
    parsed = Schedule.parse(cron)
    loaded, text = _compiled(config, overrides, image, granularity)
    client = _client(loaded, host, token_file, namespace)
    pipeline_id, _ = _uploaded(client, loaded, text)
    made = client.schedule(
        pipeline_id,
        _experiment(client, loaded),
        loaded.name,
        parsed.for_kubeflow,
        {"reason": f"schedule {cron}"},
        loaded.kubeflow.service_account,
    )
    times = [f"{fires:%Y-%m-%d %H:%M}" for fires in parsed.next_times(datetime.now(timezone.utc), 3)]
    if as_json:
        print_json({"schedule_id": made.schedule_id, "name": made.name, "cron": made.cron, "next_utc": times})
    else:
        click.echo(
            f"schedule {made.name}: {cron} (Kubeflow: {made.cron}), next {', '.join(times)} in the cluster's zone if that is UTC"
        )
    finish(0)


@command.command("unschedule", epilog="Example: edgeproof kubeflow unschedule config.yaml")
@config_argument
@set_option
@host_option
@token_option
@namespace_option
def unschedule(
    config: str, overrides: tuple[str, ...], host: str | None, token_file: str | None, namespace: str | None
) -> None:
    """Remove the schedules of CONFIG; its runs stay."""
    from pipeline.config_file import load_config

    loaded = load_config(Path(config), overrides)
    client = _client(loaded, host, token_file, namespace)
    removed = [schedule for schedule in client.schedules(_experiment(client, loaded)) if schedule.name == loaded.name]
    for schedule in removed:
        client.unschedule(schedule.schedule_id)
    click.echo(f"removed {len(removed)} schedule{'s' * (len(removed) != 1)} of {loaded.name}")


@command.command("runs", epilog="Example: edgeproof kubeflow runs config.yaml")
@config_argument
@set_option
@host_option
@token_option
@namespace_option
@json_option
def runs(
    config: str,
    overrides: tuple[str, ...],
    host: str | None,
    token_file: str | None,
    namespace: str | None,
    as_json: bool,
) -> None:
    """List the runs of CONFIG on Kubeflow, newest first."""
    from pipeline.config_file import load_config

    loaded = load_config(Path(config), overrides)
    client = _client(loaded, host, token_file, namespace)
    listed = client.runs(_experiment(client, loaded))
    if as_json:
        print_json([_run_dict(run) for run in listed])
        return
    for run in listed:
        created = f"{run.created:%Y-%m-%d %H:%M}" if run.created else "-"
        click.echo(f"{run.run_id}  {created}  {_state(run.state):<10}  {run.name}")
    if not listed:
        click.echo(f"no runs of {loaded.name} yet; start one with edgeproof kubeflow submit {config}")


@command.command("status", epilog="Example: edgeproof kubeflow status config.yaml RUN_ID --wait")
@config_argument
@click.argument("run_id")
@set_option
@host_option
@token_option
@namespace_option
@wait_option
@metadata_option
@json_option
def status(
    config: str,
    run_id: str,
    overrides: tuple[str, ...],
    host: str | None,
    token_file: str | None,
    namespace: str | None,
    wait: bool,
    metadata: str | None,
    as_json: bool,
) -> None:
    """Show the nodes of run RUN_ID; with --wait, until it has ended."""
    from pipeline.config_file import load_config

    loaded = load_config(Path(config), overrides)
    client = _client(loaded, host, token_file, namespace)
    _end(client, client.run(run_id), wait, metadata, as_json)


def _quiet() -> None:
    from components.compat import quiet_libraries

    quiet_libraries()


def _compiled(
    config: str, overrides: tuple[str, ...], image: str | None, granularity: str
) -> tuple[PipelineConfig, str]:
    from pipeline.config_file import load_config

    loaded = load_config(Path(config), overrides)
    _quiet()
    from pipeline.kubeflow.compilation import compile_for_kubeflow
    from pipeline.kubeflow.specification import Granularity

    return loaded, compile_for_kubeflow(loaded, Path(config).resolve().parent, image, Granularity(granularity))


def _client(config: PipelineConfig, host: str | None, token_file: str | None, namespace: str | None) -> Client:
    from pipeline.errors import ConfigError
    from pipeline.kubeflow.api import Client, Server

    if host is None:
        raise ConfigError(
            f"no server: give --host, or set {_HOST_VARIABLES[0]}. From outside: kubectl port-forward -n kubeflow svc/ml-pipeline 8888:8888"
        )
    token = Path(token_file) if token_file else None
    client = Client(Server(host, token, namespace or config.kubeflow.namespace))
    client.check()
    return client


def _uploaded(client: Client, config: PipelineConfig, text: str) -> tuple[str, str]:
    """The pipeline's id and its version, which is named by its content."""
    from hashlib import sha256

    version = sha256(text.encode()).hexdigest()[:12]
    return client.upload(config.name, text, f"{config.name}-{version}"), version


def _experiment(client: Client, config: PipelineConfig) -> str:
    return client.experiment(config.kubeflow.experiment or config.name)


def _slug(key: str) -> str:
    """A key as part of a run's name; a long or unusual one by its digest."""
    from hashlib import sha256

    if len(key) <= 40 and all(character.isalnum() or character in "-._" for character in key):
        return key
    return sha256(key.encode()).hexdigest()[:16]


def _state(state: str | None) -> str:
    return (state or "pending").lower()


def _run_dict(run: RunState) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.name,
        "state": _state(run.state),
        "error": run.error,
        "nodes": [{"name": task.name, "state": _state(task.state), "seconds": task.seconds} for task in _nodes(run)],
    }


def _nodes(run: RunState) -> list[Any]:
    return [task for task in run.tasks if task.name not in _NO_NODES and not task.name.endswith("-driver")]


def _end(client: Client, run: RunState, wait: bool, metadata: str | None, as_json: bool) -> None:
    """Prints a run, after its end where that is waited for, and ends the process."""
    shown: set[tuple[str, str]] = set()
    while wait and not run.is_finished:
        for task in _nodes(run):
            if (task.name, _state(task.state)) not in shown:
                shown.add((task.name, _state(task.state)))
                click.echo(f"{task.name}: {_state(task.state)}", err=True)
        time.sleep(_POLL_SECONDS)
        run = client.run(run.run_id)
    is_accepted = _is_accepted(run, metadata)
    if as_json:
        print_json({**_run_dict(run), "is_accepted": is_accepted})
    else:
        click.echo(_table(run))
        click.echo(
            {True: "ACCEPTED", False: "REFUSED", None: "the verdict is in Kubeflow's page of the run"}[is_accepted]
        )
    finish(_exit_code(run, is_accepted) if wait else 0)


def _is_accepted(run: RunState, metadata: str | None) -> bool | None:
    """The gate's verdict, as ML Metadata keeps it; None where nobody can say."""
    from pipeline.mlmd import MetadataLocation, RunStore
    from pipeline.node_entrypoint import PASSWORD_VARIABLE

    if metadata is None or run.state != "SUCCEEDED":
        return None
    recorded = RunStore(MetadataLocation(metadata, os.environ.get(PASSWORD_VARIABLE, "")), is_read_only=True).run(
        run.run_id
    )
    evaluator = recorded.node("Evaluator") if recorded is not None else None
    return None if evaluator is None else evaluator.output("ModelBlessing").properties.get("blessed") == 1


def _table(run: RunState) -> str:
    nodes = _nodes(run)
    width = max((len(task.name) for task in nodes), default=0)
    rows = [f"{task.name:<{width}}  {_state(task.state):<10}  {task.seconds:7.1f} s" for task in nodes]
    error = [f"error: {run.error}"] if run.error else []
    return "\n".join([*rows, f"run {run.run_id} ({run.name}): {_state(run.state)}", *error])


def _exit_code(run: RunState, is_accepted: bool | None) -> int:
    """A refusal ends green on Kubeflow: the run did what it should."""
    if run.state != "SUCCEEDED":
        return 3
    return 1 if is_accepted is False else 0


def _check_schedule(client: Client, config: PipelineConfig, as_json: bool) -> None:
    """Ends with 1 where a schedule is listed and has not fired when it should have: a cluster that lost its records lists it still."""
    from pipeline.kubeflow.watch import silent_schedules

    experiment = _experiment(client, config)
    schedules = [schedule for schedule in client.schedules(experiment) if schedule.name == config.name]
    silent = silent_schedules(schedules, client.runs(experiment), datetime.now(timezone.utc))
    if as_json:
        print_json(
            {"schedules": [vars(found) for found in schedules], "silent": [found.schedule_id for found in silent]},
            default=str,
        )
    else:
        click.echo(_schedule_lines(schedules, silent) or f"no schedule of {config.name}")
    finish(1 if silent or not schedules else 0)


def _schedule_lines(schedules: list[ScheduleState], silent: list[ScheduleState]) -> str:
    told = {True: "is listed and does not fire: run edgeproof kubeflow schedule again after unschedule", False: "fires"}
    return "\n".join(f"{schedule.schedule_id}  {schedule.cron}  {told[schedule in silent]}" for schedule in schedules)
