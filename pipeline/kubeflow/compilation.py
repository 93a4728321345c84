"""From a config to what Kubeflow uploads: built by the same ``build_pipeline`` as a local run, for another place.

Refused here and not in a pod at night: a path that only this machine has, class names that would be read from the data, no image.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from edgeproof_edge.addresses import is_address

from pipeline.config import PipelineConfig
from pipeline.config.data import LabelType
from pipeline.errors import ConfigError
from pipeline.kubeflow.specification import Granularity, check_nodes, specification, to_yaml
from pipeline.mlmd import MetadataLocation
from pipeline.place import Place, beam_args

#: The parameter of every node that puts the image into the cache's key.
IMAGE_PARAMETER = "container_image"
#: What the pods are told anyway; a compiled pipeline holds no address of ML Metadata.
_FILLED_IN_BY_THE_POD = MetadataLocation("grpc://metadata-grpc-service:8080")


def compile_for_kubeflow(
    config: PipelineConfig, directory: Path, image: str | None = None, granularity: Granularity = Granularity.NODE
) -> str:
    """The pipeline as YAML; the same config, code and image give the same text.

    Args:
        config: The pipeline's config.
        directory: Where its file lies.
        image: Image of the pods; by default the config's.
        granularity: A pod per node, or one for all.

    Raises:
        ConfigError: Something is missing, or only on this machine.
    """
    image = image or config.kubeflow.image
    if image is None:
        raise ConfigError(
            "kubeflow.image is missing: the pods need an image. Give it, best with its digest, or --image."
        )
    ir = compiled_for_pods(config, directory, image)
    section = data_section(config, directory)
    return to_yaml(*specification(ir, config.kubeflow, image, granularity, section))


def data_section(config: PipelineConfig, directory: Path) -> str:
    """The config's section ``data`` as the pods read it."""
    text = config.data.model_dump_json()
    project = config.kubeflow.project
    return text if project is None else text.replace(f"{directory}/", f"{project}/")


def compiled_for_pods(config: PipelineConfig, directory: Path, image: str) -> Any:
    """The compiled pipeline (IR) whose paths are the pods'.

    Raises:
        ConfigError: As :func:`compile_for_kubeflow`.
    """
    check_for_pods(config, directory)
    from tfx.dsl.components.base.base_component import BaseComponent

    from pipeline.dag import build_pipeline
    from pipeline.running import launching

    place = Place(artifact_root(config), _FILLED_IN_BY_THE_POD, beam_args(config), config.beam.nodes)
    dag = build_pipeline(config, place)
    for node in dag.components:
        if isinstance(node, BaseComponent):
            node.exec_properties[IMAGE_PARAMETER] = image
    ir = launching.compiled(dag)
    check_nodes(ir, config.kubeflow)
    if config.kubeflow.project is not None:
        for node in ir.nodes:
            _move_paths(node.pipeline_node, f"{directory}/", f"{config.kubeflow.project}/")
    return ir


def artifact_root(config: PipelineConfig) -> str:
    """Where the pods write artifacts.

    Raises:
        ConfigError: Nothing says where, or it is a directory of this machine.
    """
    root = config.kubeflow.root or config.workspace
    if root is None:
        raise ConfigError(
            "kubeflow.root is missing: the pods need an artifact root. Give a path on a volume, or s3://, gs:// or az://."
        )
    if not is_address(root) and not _is_on_a_volume(config, root):
        raise ConfigError(
            f"{_key_of_root(config)} {root} is on no volume of kubeflow.volumes, so it goes with the pod. {_WAYS}"
        )
    return root.rstrip("/") if config.kubeflow.root else config.artifact_root


def _key_of_root(config: PipelineConfig) -> str:
    return "kubeflow.root" if config.kubeflow.root else "workspace"


_WAYS = "Put it on a volume, or give an address (s3://, gs://, az://)."


def check_for_pods(config: PipelineConfig, directory: Path) -> None:
    """Refuses what a pod would not find.

    Raises:
        ConfigError: A path is of this machine, or class names would be read from the data.
    """
    artifact_root(config)
    reads_classes = config.data.kind.is_image_folder and config.data.label_type is LabelType.CLASS
    if reads_classes and not config.data.class_names:
        raise ConfigError(
            "data.class_names is missing: a pipeline that is compiled once must not take its classes from the folders of today. List them."
        )
    paths: dict[str, str | None] = {
        "data.path": str(config.data.path),
        "release.path": config.release.path,
        "release.keys": None if config.release.keys is None else str(config.release.keys),
        "model.saved_model": None if config.model.saved_model is None else str(config.model.saved_model),
        "gate.device.ssh_config": _ssh_config(config),
        "model.module": config.model.module,
        "model.run_fn": config.model.run_fn,
    }
    if config.release.path is None or config.release.keys is None:
        raise ConfigError(
            "release.path and release.keys are needed: pods come and go, so they must not make a repository of their own. Make one with "
            "edgeproof release init, and put the keys on a volume."
        )
    for key, path in paths.items():
        if path is not None and path.startswith("/") and not _is_in_pods(config, path, directory):
            raise ConfigError(
                f"{key} {path} is a path of this machine. Put it on a volume of kubeflow.volumes, or beside the config and say in "
                "kubeflow.project where the image holds that directory."
            )


def _ssh_config(config: PipelineConfig) -> str | None:
    device = config.gate.device
    return None if device is None or device.ssh_config is None else str(device.ssh_config)


def _is_in_pods(config: PipelineConfig, path: str, directory: Path) -> bool:
    in_project = config.kubeflow.project is not None and PurePosixPath(path).is_relative_to(directory)
    in_image = config.kubeflow.project is not None and PurePosixPath(path).is_relative_to(config.kubeflow.project)
    return in_project or in_image or _is_on_a_volume(config, path)


def _is_on_a_volume(config: PipelineConfig, path: str) -> bool:
    return any(PurePosixPath(path).is_relative_to(volume.path) for volume in config.kubeflow.volumes)


def _move_paths(node: Any, before: str, after: str) -> None:
    """The files beside the config lie elsewhere in the image."""
    for value in node.parameters.parameters.values():
        if before in value.field_value.string_value:
            value.field_value.string_value = value.field_value.string_value.replace(before, after)
