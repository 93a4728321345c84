"""What is done with Kubeflow's own SDK and Kubernetes' schemas, in the environment that has them: a command per question, JSON to stdout.

Run as ``python with_sdk.py QUESTION ARGUMENT...``; nothing of this project can be imported here.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml


def documents(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(Path(file).read_text(encoding="utf-8")))


def compiled_again(file: str) -> list[dict[str, Any]]:
    """The pipeline as the SDK writes it after it has loaded it."""
    from kfp import compiler, components

    with tempfile.TemporaryDirectory() as directory:
        written = f"{directory}/again.yaml"
        compiler.Compiler().compile(components.load_component_from_file(file), written)
        return documents(written)


def parsed(file: str) -> list[str]:
    """Parses every part strictly; names the messages."""
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes
    from kfp.pipeline_spec import pipeline_spec_pb2 as spec

    pipeline, *platform = documents(file)
    messages = [json_format.ParseDict(pipeline, spec.PipelineSpec())]
    messages.append(json_format.ParseDict(pipeline["deploymentSpec"], spec.PipelineDeploymentConfig()))
    for document in platform:
        messages.append(json_format.ParseDict(document, spec.PlatformSpec()))
        executors = document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        messages += [json_format.ParseDict(pod, kubernetes.KubernetesExecutorConfig()) for pod in executors.values()]
    return sorted({type(message).__name__ for message in messages})


def valid_in_kubernetes(file: str, *versions: str) -> list[str]:
    """Holds every document against the strict schema of every version; names what was checked."""
    import kubernetes_validate

    kinds = []
    for document in documents(file):
        for version in versions:
            kubernetes_validate.validate(document, version, strict=True)
        kinds.append(document["kind"])
    return kinds


def used(host: str, file: str) -> dict[str, Any]:
    """Does what people do with the SDK's client; tells what the server answered."""
    import kfp
    import kfp_server_api

    def refusal(question: Callable[[], Any]) -> list[Any]:
        try:
            question()
        except kfp_server_api.ApiException as error:
            return [error.status, error.body if isinstance(error.body, str) else error.body.decode()]
        return [200, ""]

    client = kfp.Client(host=host)
    pipeline = client.upload_pipeline(file, pipeline_name="digits")
    version = client.upload_pipeline_version(file, "digits-2", pipeline_id=pipeline.pipeline_id)
    experiment = client.create_experiment("digits")
    ids = {"pipeline_id": pipeline.pipeline_id, "version_id": version.pipeline_version_id}

    def scheduled(cron: str, **parameters: Any) -> Any:
        return client.create_recurring_run(
            experiment.experiment_id,
            "nightly",
            cron_expression=cron,
            max_concurrency=1,
            no_catchup=True,
            params=parameters,
            **ids,
        )

    run = client.run_pipeline(experiment.experiment_id, "by-hand", params={"reason": "drift"}, **ids)
    ended = client.wait_for_run_completion(run.run_id, timeout=60, sleep_duration=0)
    schedule = scheduled("0 0 3 * * *", reason="clock")
    client.disable_recurring_run(schedule.recurring_run_id)
    disabled = client.get_recurring_run(schedule.recurring_run_id).status
    client.enable_recurring_run(schedule.recurring_run_id)
    enabled = client.get_recurring_run(schedule.recurring_run_id).status
    listed = [listed.display_name for listed in client.list_recurring_runs().recurring_runs]
    client.delete_recurring_run(schedule.recurring_run_id)
    return {
        "state": ended.state,
        "runs": [listed.display_name for listed in client.list_runs(experiment_id=experiment.experiment_id).runs],
        "switched": [disabled, enabled],
        "schedules": listed,
        "taken": refusal(lambda: client.upload_pipeline(file, pipeline_name="digits")),
        "bad_cron": refusal(lambda: scheduled("every night")),
        "unknown": refusal(lambda: client.run_pipeline(experiment.experiment_id, "x", params={"nosuch": 1}, **ids)),
    }


def ran(file: str, *, is_checked: bool = False) -> str:
    """Runs the pipeline with Kubeflow's local orchestrator, each task as a process; it knows no schedules, so it is given a time.

    Args:
        file: The compiled pipeline.
        is_checked: Whether its check stays that only Python components are run without docker; Kubeflow's own tests take it away as this
            does.
    """
    from kfp import components, dsl, local
    from kfp.local.subprocess_task_handler import SubprocessTaskHandler

    if not is_checked:
        SubprocessTaskHandler.validate_not_container_component = lambda *_: None
    with tempfile.TemporaryDirectory() as root, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=root, raise_on_error=True)
        text = Path(file).read_text(encoding="utf-8")
        text = text.replace(dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER, "2026-11-27T03:00:00Z")
        components.load_component_from_text(text)()
    return "SUCCESS"


def ran_with_check(file: str) -> str:
    return ran(file, is_checked=True)


QUESTIONS: dict[str, Callable[..., Any]] = {
    question.__name__: question for question in (compiled_again, parsed, valid_in_kubernetes, used, ran, ran_with_check)
}


def main(arguments: Sequence[str]) -> None:
    answer = QUESTIONS[arguments[0]](*arguments[1:])
    print("\n" + json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
