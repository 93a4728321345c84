from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from pipeline.machine import doctor
from pipeline.machine.doctor import Finding

GIB = 1024**3


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        pytest.param(doctor.check_platform("Linux", "aarch64"), "use x86_64 Linux", id="arm-has-no-wheels"),
        pytest.param(doctor.check_platform("Darwin", "x86_64"), "use x86_64 Linux", id="macos"),
        pytest.param(doctor.check_glibc(None), "use a system with glibc", id="musl"),
        pytest.param(doctor.check_python((3, 9, 18)), "use Python 3.10", id="python-too-old"),
        pytest.param(doctor.check_python((3, 14, 0)), "use Python 3.10", id="python-too-new"),
        pytest.param(doctor.check_stack((3, 10, 13), (2, 36), "", None), "make demo", id="tfx-missing"),
        pytest.param(doctor.check_stack((3, 10, 13), (2, 36), "", "1.21.0"), "make demo", id="tfx-of-the-other-stack"),
        pytest.param(
            doctor.check_stack((3, 10, 13), (2, 36), "tfx121", "1.16.0"), "unset EDGEPROOF", id="asks-too-much"
        ),
        pytest.param(doctor.check_stack((3, 13, 5), (2, 41), "tfx116", "1.21.0"), "make venv", id="asks-for-the-other"),
        pytest.param(doctor.check_compiler(None, is_installed=False), "apt-get install g++", id="no-compiler-yet"),
        pytest.param(doctor.check_disk(GIB, Path("/data")), "larger disk", id="disk-full"),
        pytest.param(doctor.check_memory(GIB), "larger machine", id="little-memory"),
    ],
)
def test_what_is_wrong_comes_with_what_to_do(finding: Finding, words: str) -> None:
    assert not finding.ok
    assert words in finding.remedy
    assert "\n" not in finding.detail + finding.remedy


@pytest.mark.parametrize(
    "finding",
    [
        pytest.param(doctor.check_platform("Linux", "x86_64"), id="platform"),
        pytest.param(doctor.check_glibc((2, 36)), id="old-glibc-still-runs-tfx116"),
        pytest.param(doctor.check_python((3, 12, 1)), id="python"),
        pytest.param(doctor.check_stack((3, 10, 13), (2, 36), "", "1.16.0"), id="tfx116"),
        pytest.param(doctor.check_stack((3, 10, 13), (2, 41), "tfx116", "1.16.0"), id="tfx116-asked-for-on-new-glibc"),
        pytest.param(doctor.check_stack((3, 13, 5), (2, 41), "", "1.21.0"), id="tfx121"),
        pytest.param(doctor.check_compiler(None, is_installed=True), id="compiler-is-a-note-once-installed"),
        pytest.param(doctor.check_disk(90 * GIB, Path("/data")), id="disk"),
        pytest.param(doctor.check_memory(None), id="memory-unknown"),
    ],
)
def test_what_is_right_has_no_remedy(finding: Finding) -> None:
    assert finding.ok
    assert finding.remedy == ""


def test_component_that_tfx_turned_into_none_is_named() -> None:
    components = types.SimpleNamespace(__all__=["Trainer", "InfraValidator"], Trainer=object, InfraValidator=None)
    finding = doctor.check_components(components)
    assert not finding.ok
    assert "InfraValidator" in finding.detail
    assert "Trainer" not in finding.detail


def test_module_without_components_is_not_fine() -> None:
    assert not doctor.check_components(types.SimpleNamespace(__all__=[])).ok


def test_import_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Finding:
        raise ImportError("libcublas.so.12: cannot open shared object file\nsecond line")

    monkeypatch.setattr(doctor, "CHECKS", {"beam": broken})
    (finding,) = doctor.diagnose()
    assert finding == Finding(
        "beam", False, "ImportError: libcublas.so.12: cannot open shared object file", doctor.SET_UP_AGAIN
    )


def test_rendering_is_a_line_each_and_an_answer() -> None:
    text = doctor.render((Finding("glibc", True, "2.36"), Finding("compiler", False, "no g++", "install it")))
    assert text.splitlines() == [
        "ok    glibc     2.36",
        "FAIL  compiler  no g++",
        "                -> install it.",
        "1 of 2 checks failed.",
    ]


def test_rendering_of_a_healthy_machine_ends_with_everything_is_here() -> None:
    assert doctor.render((Finding("glibc", True, "2.36"),)).splitlines()[-1] == "Everything a run needs is here."


def test_available_memory_is_positive_or_unknown() -> None:
    available = doctor.available_memory()
    assert available is None or available > 0


def test_importing_the_doctor_imports_no_heavy_library() -> None:
    source = Path(str(doctor.__file__)).read_text(encoding="utf-8")
    assert not [line for line in source.splitlines() if line.startswith(("import t", "from t", "import apache"))]


@pytest.mark.tfx
def test_every_library_check_passes_on_this_installation() -> None:
    for finding in doctor.diagnose():
        assert finding.ok or finding.name in ("disk", "memory"), finding


@pytest.mark.tfx
def test_blocked_import_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dill", None)
    finding = next(finding for finding in doctor.diagnose() if finding.name == "beam")
    assert not finding.ok
    assert "dill" in finding.detail
