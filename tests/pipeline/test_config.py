"""One YAML file becomes frozen models, or one line per wrong key."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from components.evaluator.counting.metric import LabelKind
from components.evaluator.gate.thresholds import GateRules
from pipeline.config import PipelineConfig
from pipeline.config.data import TensorFeatureConfig
from pipeline.config.gate import GateConfig
from pipeline.config.keys import allowed_keys, path_keys
from pipeline.config_file import _apply, load_config
from pipeline.config_schema import schema_text
from pipeline.errors import ConfigError

ROOT = Path(__file__).parent.parent.parent
MINIMAL = {
    "name": "digits",
    "data": {"format": "image_folder", "path": "images", "image": {"height": 8, "width": 8, "channels": 1}},
    "model": {"module": "model.py"},
}


def write(tmp_path: Path, **changes: object) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({**MINIMAL, **changes}), encoding="utf-8")
    return file


def test_a_minimal_config_takes_every_default(tmp_path: Path) -> None:
    config = load_config(write(tmp_path))
    assert config.gate.min_ratio == Fraction("0.97")
    assert config.convert.calibration.min_samples == 500


def test_paths_in_the_file_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path))
    assert config.data.path == tmp_path / "images"
    assert config.model.module == str(tmp_path / "model.py")


def test_paths_on_the_command_line_are_relative_to_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path.parent)
    assert load_config(write(tmp_path), ["data.path=elsewhere"]).data.path == tmp_path.parent / "elsewhere"


def test_a_dotted_module_stays_a_module(tmp_path: Path) -> None:
    overrides = ["model.module=my.package.model"]
    assert load_config(write(tmp_path), overrides).model.module == "my.package.model"


def test_the_ratio_is_the_decimal_that_was_written(tmp_path: Path) -> None:
    assert load_config(write(tmp_path), ["gate.min_ratio=0.985"]).gate.min_ratio == Fraction("0.985")


@pytest.mark.parametrize("given", ["on", {"mode": "on"}, {"mode": True}, True], ids=str)
def test_qat_is_switched_on_by_one_word(tmp_path: Path, given: object) -> None:
    assert load_config(write(tmp_path, train={"qat": given})).train.qat.mode.value == "on"  # YAML 1.1 reads on as true
    assert load_config(write(tmp_path), ["train.qat=on"]).train.qat.mode.value == "on"


@pytest.mark.parametrize(
    "overrides",
    [["train.qat=on", "train.qat.epochs=2"], ["train.qat.epochs=2", "train.qat=on"]],
    ids=["word-first", "word-last"],
)
def test_the_one_word_goes_with_the_keys_of_its_section(tmp_path: Path, overrides: list[str]) -> None:
    qat = load_config(write(tmp_path, train={"qat": {"equalize": False}}), overrides).train.qat
    assert (qat.mode.value, qat.epochs, qat.equalize) == ("on", 2, False)


def test_qat_needs_a_model_module(tmp_path: Path) -> None:
    config = write(tmp_path, train={"qat": "on"}, model={"saved_model": "exported"})
    with pytest.raises(ConfigError, match=r"train\.qat is on, but it fine-tunes the model of model\.module"):
        load_config(config)


def test_every_path_key_is_found() -> None:
    assert {"data.path", "model.saved_model", "model.module", "workspace", "release.path"} <= path_keys()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param(["data.fromat=csv"], "data.fromat: unknown key; did you mean format?", id="misspelled-key"),
        pytest.param(["foo=1"], "foo: unknown key; allowed: beam, convert, data, gate, kubeflow", id="unknown-section"),
        pytest.param(
            ["data.format=jpeg"], "data.format: Input should be 'image_folder', 'tfrecord'", id="unknown-format"
        ),
        pytest.param(["train.epochs=0"], "train.epochs: Input should be greater than 0; found 0", id="zero-epochs"),
        pytest.param(
            ["gate.min_ratio=1.5"], "gate.min_ratio: Input should be less than or equal to 1", id="ratio-over-one"
        ),
        pytest.param(
            ["model.saved_model=m"], "model: give exactly one of module, run_fn, saved_model", id="two-models"
        ),
        pytest.param(["model.module=null"], "found none", id="no-model"),
        pytest.param(["data.image=null"], "needs image: {height, width, channels}", id="image-folder-without-size"),
        pytest.param(
            ["data.format=csv"],
            "csv data needs class_names or num_classes, or label_type: value",
            id="records-without-classes",
        ),
        pytest.param(["data.group_by=("], "regular expression with one group", id="broken-group-by"),
        pytest.param(["name=My Model"], "name: String should match pattern", id="name-with-a-space"),
        pytest.param(["data.image.width.x=1"], "width is not a section", id="override-through-a-number"),
        pytest.param(["epochs"], "must look like a.b=value", id="override-without-a-value"),
    ],
)
def test_a_wrong_key_is_named_with_its_path(tmp_path: Path, overrides: list[str], message: str) -> None:
    changed = write(tmp_path)
    if overrides[0].startswith("data.image.width"):
        changed = write(tmp_path, data={**MINIMAL["data"], "image": {"height": 8, "width": 8, "channels": 1}})  # type: ignore[dict-item]
    with pytest.raises(ConfigError) as caught:
        load_config(changed, overrides)
    assert message in str(caught.value)


def test_all_wrong_keys_are_listed_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 wrong keys") as caught:
        load_config(write(tmp_path), ["foo=1", "train.epochs=-1"])
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"a: [", "is not YAML", id="broken-yaml"),
        pytest.param(b"- a", "must hold keys such as name", id="a-list"),
        pytest.param(b"\xff\xfe\x00", "cannot be read", id="not-text"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_config(file)


def test_every_default_says_what_it_means() -> None:
    definitions = PipelineConfig.model_json_schema()["$defs"]
    undescribed = [
        f"{section}.{key}"
        for section, definition in definitions.items()
        for key, value in definition.get("properties", {}).items()
        if "default" in value and "description" not in value and "$ref" not in json.dumps(value)
    ]
    assert undescribed == []


def test_the_json_schema_in_the_repository_is_current() -> None:
    assert (ROOT / "schemas" / "config.schema.json").read_text(encoding="utf-8") == schema_text()


@pytest.mark.parametrize("example", ["digits", "mnist"])
def test_the_examples_configs_are_valid(example: str) -> None:
    assert load_config(ROOT / "examples" / example / "config.yaml").name == example


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        pytest.param(
            {"metric": "mae"}, "mae is for real-valued labels, and data.label_type is class", id="error-of-classes"
        ),
        pytest.param({"max_error_factor": 2}, "metric top1 has no max_error_factor; remove it", id="factor-of-classes"),
        pytest.param(
            {"slices": [{"by": "label", "buckets": [3]}]}, "buckets of the label, which is", id="class-buckets"
        ),
        pytest.param({"metric": "auc", "confidence": 0.95}, "no confidence bound for metric auc", id="bound-of-auc"),
        pytest.param({"slices": [{"by": "label", "feature": "site"}]}, "either by", id="two-sources"),
        pytest.param({"slices": [{"feature": "age", "buckets": [9, 3]}]}, "must rise", id="falling-edges"),
        pytest.param({"confidence": 95}, "confidence", id="percent"),
        pytest.param({"champion_channel": "stable"}, "champion_min_ratio: 1", id="a-champion-without-its-rule"),
        pytest.param({"slice_min_ratio": 0}, "slice_min_ratio", id="nothing-to-keep"),
    ],
)
def test_a_gate_that_cannot_be_meant_is_an_error(tmp_path: Path, gate: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_config(write(tmp_path, gate=gate))


def test_the_gates_rules_reach_the_evaluator_exactly(tmp_path: Path) -> None:
    from components.evaluator.gate.thresholds import GateRules
    from pipeline.description import gate_slices

    gate = {
        "min_ratio": 0.985,
        "confidence": 0.95,
        "slice_min_ratio": 0.9,
        "class_min_ratio": 0.8,
        "champion_min_ratio": 1,
        "max_size_ratio": 0.5,
        "max_latency_ratio": 2,
        "min_kernel_agreement": 0.99,
        "slices": [{"by": "label"}, {"feature": "age", "buckets": [18, 65]}],
    }
    config = load_config(write(tmp_path, gate=gate))
    rules = config.gate.rules
    assert GateRules.from_json(rules.to_json()) == rules
    found = (rules.min_ratio, rules.confidence, rules.slice_min_ratio, rules.class_min_ratio)
    assert [str(value) for value in found] == ["197/200", "19/20", "9/10", "4/5"]
    assert [spec.name for spec in gate_slices(config)] == ["label", "age"]
    assert [spec.name for spec in gate_slices(load_config(write(tmp_path)))] == ["label", "brightness"]


@pytest.mark.parametrize("name", list(GateRules.model_fields))
def test_every_threshold_of_the_config_reaches_the_rules(tmp_path: Path, name: str) -> None:
    values = {"metric": "rmse", "top_k": 3, "confidence": 0.875, "max_error_factor": 1.5, "slice_max_error_factor": 1.5}
    values["device"] = {"ssh": "pi@raspberrypi", "max_p50_ms": 20.0, "max_latency_ratio": None}
    value = values.get(name, 7 if name.endswith("examples") else 0.875)
    is_of_values = name == "metric" or not GateRules.takes(name, LabelKind.CLASS)
    gate = {**({"metric": "mae"} if is_of_values else {}), name: value}
    (tmp_path / "model.py").write_text("")
    config = load_config(write(tmp_path, gate=gate, **({"data": TABLE} if is_of_values else {})))
    given = getattr(config.gate.rules, name)
    if isinstance(value, dict):
        assert {key: getattr(given, key) for key in value} == value
    else:
        assert given == (value if isinstance(value, (int, str)) else Fraction(value))
    assert given != GateRules.model_fields[name].default
    assert GateRules.from_json(config.gate.rules.to_json()) == config.gate.rules


def test_keys_of_the_gate_that_are_no_thresholds_are_these() -> None:
    """What the Evaluator gets beside its rules; see `test_what_the_gate_section_says_reaches_the_evaluator`."""
    others = {"decision_threshold", "output", "slices", "champion_channel", "kernel_sample", "eval_config"}
    assert set(GateConfig.model_fields) - set(GateRules.model_fields) == others


TABLE = {
    "format": "csv",
    "path": "rides",
    "label": "fare",
    "label_type": "value",
    "features": {"miles": {}, "seconds": {}},
}


@pytest.mark.parametrize(
    ("data", "others", "reason"),
    [
        pytest.param({}, {"gate": {}}, "label_type is value, and gate.metric top1 is for classes; set", id="no-metric"),
        pytest.param({"num_classes": 3}, {}, "label_type value has no classes; remove num_classes", id="classes"),
        pytest.param({"class_names": ["a", "b"]}, {}, "no classes; remove class_names", id="class-names"),
        pytest.param({"label": "miles"}, {}, "the label 'miles' is among the features", id="label-among-features"),
        pytest.param({"label_type": "number"}, {}, "label_type: Input should be 'class' or 'value'", id="unknown-type"),
        pytest.param(
            {}, {"gate": {"metric": "rmse", "min_ratio": 0.9}}, "rmse has no min_ratio; remove it", id="ratio"
        ),
        pytest.param(
            {},
            {"gate": {"metric": "mae", "class_min_ratio": 0.9, "slice_min_ratio": 0.9}},
            "mae has no class_min_ratio, slice_min_ratio; remove them",
            id="two-ratios",
        ),
        pytest.param(
            {}, {"gate": {"metric": "mae", "max_error_factor": 0.9}}, "greater than or equal to 1", id="below-1"
        ),
        pytest.param({}, {"train": {"qat": "on"}}, "train.qat counts right answers", id="qat"),
    ],
)
def test_a_value_is_no_class(tmp_path: Path, data: dict[str, object], others: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, data={**TABLE, **data}, **{"gate": {"metric": "mae"}, **others}))
    assert reason in str(caught.value)


def test_an_image_folder_has_classes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="labels are its folders, which are classes"):
        load_config(write(tmp_path), ["data.label_type=value", "gate.metric=mae"])


def test_real_values_reach_every_component(tmp_path: Path) -> None:
    from pipeline.description import describe_data, gate_slices

    gate = {"metric": "rmse", "max_error_factor": 1.05, "slice_max_error_factor": 1.25, "confidence": 0.95}
    (tmp_path / "model.py").write_text("")
    config = load_config(write(tmp_path, data=TABLE, gate=gate))
    data, rules = describe_data(config), config.gate.rules
    assert (data.examples.has_real_label, data.examples.label, data.num_classes) == (True, "fare", 0)
    assert (str(rules.max_error_factor), str(rules.slice_max_error_factor)) == ("21/20", "5/4")
    assert [spec.name for spec in gate_slices(config)] == ["label"]
    default = load_config(write(tmp_path, data=TABLE, gate={"metric": "mae"})).gate.rules
    assert str(default.max_error_factor) == "103/100"


def test_a_feature_says_what_can_be_set_below_it() -> None:
    assert "default" in allowed_keys(("data", "features", "oil_ppm"))
    assert allowed_keys(("data", "features")) == []
    assert "feature" in allowed_keys(("gate", "slices", 0))
    assert allowed_keys(("data", "path")) == []


def test_a_pattern_needs_no_quotes_on_the_command_line(tmp_path: Path) -> None:
    values: dict[str, Any] = {}
    _apply(values, "data.pattern=*/*/*")
    assert values == {"data": {"pattern": "*/*/*"}}


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        pytest.param({"dtype": "string", "default": 3}, "default must be a text", id="a-number-for-a-text"),
        pytest.param({"default": "none"}, "default must be a number", id="a-text-for-a-number"),
        pytest.param({"dtype": "int64", "default": 0.5}, "must be whole numbers", id="a-fraction"),
        pytest.param({"pad": 0}, "pad is for numbers with a shape", id="pad-without-shape"),
        pytest.param({"vocabulary": ["a"]}, "vocabulary is for dtype string", id="words-of-a-number"),
        pytest.param({"dtype": "string", "vocabulary": ["a", "a"]}, "names a text twice", id="a-word-twice"),
    ],
)
def test_a_feature_whose_keys_do_not_fit_is_refused(feature: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TensorFeatureConfig.model_validate(feature)


def test_a_config_does_not_silently_begin_anew_in_another_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (project / ".edgeproof" / "digits").mkdir(parents=True)
    file = project / "config.yaml"
    file.write_text(
        "name: digits\ndata: {format: image_folder, path: photos, image: {height: 8, width: 8, channels: 1}}\nmodel: {module: model.py}\n",
        "utf-8",
    )
    monkeypatch.chdir(elsewhere)
    with pytest.raises(ConfigError, match=rf"are in {project}/\.edgeproof/digits.*--set workspace={project}"):
        load_config(file)
    assert load_config(file, [f"workspace={project}/.edgeproof/digits"]).workspace_dir == project / ".edgeproof/digits"
    monkeypatch.chdir(project)
    assert load_config(file).workspace_dir == project / ".edgeproof/digits"
