"""What a node is told when the pipeline is built, and what it must find out in each run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import validated

pytestmark = pytest.mark.tfx


@pytest.mark.parametrize("for_one_run", [True, False], ids=["built-for-each-run", "compiled-once"])
def test_only_a_pipeline_for_one_run_says_what_a_channel_offers(tmp_path: Path, for_one_run: bool) -> None:
    from tfx.dsl.components.common.importer import Importer
    from tfx.orchestration.data_types import RuntimeParameter
    from tfx.types import standard_artifacts

    from pipeline.nodes import champion

    config = validated(
        {
            "name": "digits",
            "workspace": "work",
            "data": {"format": "image_folder", "path": ".", "image": {"height": 8, "width": 8, "channels": 1}},
            "model": {"module": "model.py"},
            "gate": {"champion_min_ratio": 1, "champion_channel": "stable"},
        },
        tmp_path,
    )
    before = Importer("somewhere", standard_artifacts.Model).with_id("TFLiteConverter")
    node = champion(config, before, for_one_run)
    assert node is not None
    assert {upstream.id for upstream in node.upstream_nodes} == {"TFLiteConverter"}
    assert isinstance(node.exec_properties["channel_state"], str if for_one_run else RuntimeParameter)
