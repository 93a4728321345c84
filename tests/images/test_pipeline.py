"""The image of the pods, built from this checkout (ten minutes, 4 GB), and `docker run IMAGE demo`, which does what the laptop's does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.images.engine import ROOT, Engine, Unavailable

pytestmark = pytest.mark.images

IMAGE = "localhost/edgeproof-test/pipeline"
#: TFX 1.21 on Debian 13's own Python; 5 GB leaves room for a library that grows.
MAX_BYTES = 5_000_000_000
#: Somebody else of group 0, as OpenShift chooses users.
USER = 12_345


@pytest.fixture(scope="module")
def pipeline(engine: Engine) -> str:
    try:
        base = engine.base("trixie", "python3-dev", "python3-pip")
    except Unavailable as error:
        pytest.skip(f"NO IMAGE WAS BUILT OR RUN HERE: {error}")
    engine.build(ROOT / "kubeflow/Dockerfile", ROOT, IMAGE, BASE=base, STACK="tfx121")
    return IMAGE


def test_the_image_runs_as_a_number_and_its_size_is_known(engine: Engine, pipeline: str) -> None:
    facts = json.loads(engine.podman("image", "inspect", pipeline).stdout)[0]
    print(f"the pipeline's image: {facts['Size'] / 1e9:.2f} GB")
    assert facts["Size"] < MAX_BYTES
    assert facts["Config"]["User"] == "10001:0"


def test_the_demo_runs_without_a_network_on_a_read_only_root_as_any_user_of_group_0(
    engine: Engine, pipeline: str, tmp_path: Path
) -> None:
    os.chown(tmp_path, USER, 0)
    for path in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        path.chmod(0o755)
    safe = (
        "--network=none",
        "--read-only",
        "--tmpfs=/tmp",
        "--cap-drop=all",
        f"--user={USER}:0",
        "-v",
        f"{tmp_path}:/work",
    )
    told = engine.podman("run", "--rm", *safe, pipeline, "demo", timeout=900)
    assert "ACCEPTED  int8 keeps" in told.stdout + told.stderr
    assert list((tmp_path / ".edgeproof/digits/published").iterdir())


def test_bytecode_is_there_so_that_no_pod_compiles(engine: Engine, pipeline: str) -> None:
    script = "import pathlib, tensorflow; print(len(list(pathlib.Path(tensorflow.__file__).parent.rglob('*.pyc'))))"
    told = engine.podman("run", "--rm", "--network=none", "--entrypoint", "python", pipeline, "-c", script)
    assert int(told.stdout.split()[-1]) > 1000
