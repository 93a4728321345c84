"""The engine, and the image of the gateway, built once."""

from __future__ import annotations

import pytest

from tests.images.engine import ROOT, Engine, Unavailable

GATEWAY = "localhost/edgeproof-test/gateway"


@pytest.fixture(scope="session")
def engine() -> Engine:
    try:
        return Engine()
    except Unavailable as error:
        pytest.skip(f"NO IMAGE WAS BUILT OR RUN HERE: {error}")


@pytest.fixture(scope="session")
def gateway(engine: Engine) -> str:
    """The name of the gateway's image, built from this checkout."""
    try:
        base = engine.base("bookworm")
    except Unavailable as error:
        pytest.skip(f"NO IMAGE WAS BUILT OR RUN HERE: {error}")
    engine.build(ROOT / "edge/docker/Dockerfile", ROOT / "edge", GATEWAY, BASE=base)
    return GATEWAY
