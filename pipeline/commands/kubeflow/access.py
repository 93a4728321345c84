"""Options that say which server is asked and by whom, and the client that they make."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig
    from pipeline.kubeflow.api import Client

#: Kubeflow's own variables for where it is and who asks.
HOST_VARIABLES = ("EDGEPROOF_KUBEFLOW_HOST", "KF_PIPELINES_ENDPOINT")
TOKEN_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"
CA_VARIABLE = "EDGEPROOF_KUBEFLOW_CA"


@dataclass(frozen=True)
class Access:
    """What the options say; the config may know the namespace."""

    host: str | None
    token_file: str | None
    ca_file: str | None
    namespace: str | None

    def client(self, config: PipelineConfig) -> Client:
        """A client of a server that answers.

        Raises:
            ConfigError: No server is named, or a file cannot be read.
            SurroundingsError: It does not answer.
        """
        from pipeline.errors import ConfigError
        from pipeline.kubeflow.api import Client, Server

        if self.host is None:
            raise ConfigError(
                f"no server: give --host, or set {HOST_VARIABLES[0]}. From outside: kubectl port-forward -n kubeflow svc/ml-pipeline "
                "8888:8888"
            )
        client = Client(
            Server(self.host, _path(self.token_file), self.namespace or config.kubeflow.namespace, _path(self.ca_file))
        )
        client.check()
        return client


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def access_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the command gets them as ``access``."""

    @click.option(
        "--host", envvar=HOST_VARIABLES, help=f"Address of Kubeflow Pipelines.  [default: ${HOST_VARIABLES[0]}]"
    )
    @click.option(
        "--token-file",
        envvar=TOKEN_VARIABLE,
        type=click.Path(dir_okay=False),
        help=f"File with a bearer token.  [default: ${TOKEN_VARIABLE}]",
    )
    @click.option(
        "--ca-file",
        envvar=CA_VARIABLE,
        type=click.Path(dir_okay=False),
        help=f"Certificate authority of the server, as PEM.  [default: ${CA_VARIABLE}]",
    )
    @click.option("--namespace", help="Namespace; overrides kubeflow.namespace.")
    @functools.wraps(command)
    def with_access(
        host: str | None, token_file: str | None, ca_file: str | None, namespace: str | None, **options: Any
    ) -> Any:
        return command(access=Access(host, token_file, ca_file, namespace), **options)

    return with_access


def experiment_of(client: Client, config: PipelineConfig) -> str:
    """The experiment that the config's runs belong to."""
    return client.experiment(config.kubeflow.experiment or config.name)
