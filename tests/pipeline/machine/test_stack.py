from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from pipeline.machine import stack as stacks
from pipeline.machine.stack import Stack

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("glibc", "pythons", "override", "expected"),
    [
        pytest.param((2, 41), [(3, 13, 5)], "", Stack.TFX121, id="debian-13-runs-the-newest"),
        pytest.param((2, 39), [(3, 12, 3)], "", Stack.TFX121, id="ubuntu-24.04-runs-the-newest"),
        pytest.param((2, 38), [(3, 12, 3)], "", Stack.TFX116, id="glibc-just-too-old"),
        pytest.param((2, 36), [(3, 11, 2), (3, 10, 13)], "", Stack.TFX116, id="debian-12-with-python-3.10"),
        pytest.param((2, 36), [], "", Stack.TFX116, id="debian-12-with-nothing-fetches-python-3.10"),
        pytest.param((2, 41), [], "", Stack.TFX121, id="debian-13-with-nothing-fetches-the-newest"),
        pytest.param((2, 41), [(3, 10, 13)], "", Stack.TFX116, id="new-glibc-with-only-python-3.10"),
        pytest.param((2, 41), [(3, 10, 13), (3, 11, 7)], "", Stack.TFX121, id="new-glibc-with-both-prefers-the-newest"),
        pytest.param((2, 41), [(3, 14, 0)], "", Stack.TFX121, id="python-3.14-alone-is-no-python"),
        pytest.param((2, 41), [(3, 13, 5)], "tfx116", Stack.TFX116, id="override-to-the-older"),
    ],
)
def test_stack_that_fits(glibc: stacks.Version, pythons: list[stacks.Version], override: str, expected: Stack) -> None:
    assert stacks.choose(glibc, pythons, override).stack is expected


@pytest.mark.parametrize(
    ("glibc", "override", "words"),
    [
        pytest.param((2, 36), "tfx121", "needs glibc 2.39 or newer", id="override-beyond-this-glibc"),
        pytest.param((2, 36), "tfx99", "set it to tfx121 or tfx116", id="override-unknown"),
        pytest.param(None, "", "needs Linux with glibc", id="no-glibc"),
        pytest.param(None, "tfx116", "needs Linux with glibc", id="no-glibc-whatever-is-asked"),
    ],
)
def test_no_stack_fits_and_the_sentence_says_what_to_do(
    glibc: stacks.Version | None, override: str, words: str
) -> None:
    with pytest.raises(stacks.StackError, match=words) as caught:
        stacks.choose(glibc, [(3, 10, 13)], override)
    assert "\n" not in str(caught.value)


def test_reason_names_the_obstacle() -> None:
    assert stacks.choose((2, 36), [(3, 10, 13)]).reason == "glibc 2.36 is older than 2.39"


@pytest.mark.parametrize(
    ("version", "stack"),
    [
        ((3, 9, 18), None),
        ((3, 10, 13), Stack.TFX116),
        ((3, 11, 0), Stack.TFX121),
        ((3, 13, 5), Stack.TFX121),
        ((3, 14, 0), None),
    ],
)
def test_python_version_means_a_stack(version: stacks.Version, stack: Stack | None) -> None:
    assert stacks.of_python(version) is stack


@pytest.mark.parametrize(
    ("text", "version"), [("3.10.13", (3, 10, 13)), ("2.36", (2, 36)), ("3.13.0rc1", (3, 13, 0)), ("x", ()), ("", ())]
)
def test_parse_takes_the_leading_numbers(text: str, version: stacks.Version) -> None:
    assert stacks.parse(text) == version


def test_glibc_of_this_machine_is_known() -> None:
    version = stacks.glibc_version()
    assert version is not None
    assert version >= (2, 17)


def test_running_python_belongs_to_a_stack() -> None:
    assert stacks.of_python() is stacks.of_python(tuple(sys.version_info[:3]))


def test_pins_exist_for_every_stack() -> None:
    for stack in Stack:
        pins = (REPOSITORY / "constraints" / f"{stack.value}.txt").read_text(encoding="utf-8")
        assert f"tfx=={stack.tfx_version}" in pins


@pytest.mark.parametrize("path", ["pipeline/machine/stack.py", "constraints/bootstrap.py", "constraints/recompile.py"])
def test_set_up_parses_on_python_3_8(path: str) -> None:
    ast.parse((REPOSITORY / path).read_text(encoding="utf-8"), feature_version=(3, 8))
