"""The section ``release``: where accepted models go."""

from __future__ import annotations

from pydantic import Field

from pipeline.config.section import ConfigPath, Location, Section


class ReleaseConfig(Section):
    """Where accepted models go."""

    path: Location | None = Field(
        None,
        description="Directory of the release repository, or its address: s3://, gs:// or az:// (needs edgeproof[buckets]). "
        "Default: published under the workspace.",
    )
    channel: str = Field(
        "dev",
        pattern=r"^[a-z][a-z0-9-]{0,62}$",
        description="Channel that an accepted model is published to; people promote from there.",
    )
    golden_split: str | None = Field(
        None,
        description="Split of the golden rows: raw examples that travel to every device for its self-test. Default: the holdout.",
    )
    keys: ConfigPath | None = Field(
        None,
        description="Directory of the repository's keys, as `edgeproof release init` makes it. Default: keys under the workspace, and a "
        "directory without a repository gets one with development keys.",
    )
    license: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9.+() -]+$",
        description="Licence of the model, an SPDX expression such as Apache-2.0; the ML-BOM of a release says it.",
    )
