"""The incidents, each trained and exported at most once per session."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from tests.incidents.classifiers import CLASSIFIERS
from tests.incidents.data import Incident
from tests.incidents.other_shapes import OTHER_SHAPES


@pytest.fixture(scope="session")
def incident(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Incident]:
    """Gives an incident by name; all of them together take about a minute to make on one core."""
    directory = tmp_path_factory.mktemp("incidents")
    generators = {**CLASSIFIERS, **OTHER_SHAPES}

    @cache
    def make(name: str) -> Incident:
        return generators[name](directory)

    return make
