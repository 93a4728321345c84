"""Looks at the bytes that came out, never at the flags that went in, and refuses what is not what was asked for.

Rules, in order: 1. no custom operators, and TF Select ones only where they are allowed. 2. No weights are stored in fewer
bits than the recipe says. 3. A recipe with calibrated ranges must have given operators that compute in integers
(TensorFlow returns a float model, and no error, when its calibration data was useless). 4. Inputs and outputs have the
types that were asked for. 5. The installed runtime loads the file. Float operators inside an integer model are named, and
refused only where that is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeproof_edge.errors import ModelFileError
from edgeproof_edge.flatbuffer import Inspection, inspect
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.tensors import TensorSpec

from components.errors import ConversionError
from components.repair.recipes import IoType, Recipe
from components.saved_models.saved_model import Signature

#: Types of fewer bits than any recipe stores weights in.
NARROW_TYPES = frozenset({"int2", "int4", "uint4"})


def check_operators(
    inspection: Inspection, recipe: Recipe, allow_float_operators: bool, allow_select_tf: bool = False
) -> tuple[str, ...]:
    """Checks what the operators of a converted model are.

    Returns:
        Warnings: operators that need TF Select on the device, and the float operators of an integer model.

    Raises:
        ConversionError: Custom or TF Select operators; weights of fewer bits; no integer operators; float operators that are
            not allowed.
    """
    foreign = (*inspection.custom_operators, *(() if allow_select_tf else inspection.flex_operators))
    if foreign:
        raise ConversionError(
            f"the converted model holds operators that TFLite has no kernel for: {', '.join(foreign)}. "
            "Replace the layers that need them with ones TFLite knows."
        )
    _check_weights(inspection, recipe)
    warnings = (*_flex_warnings(inspection), *_state_warnings(inspection))
    if recipe.activation_dtype == "float32":
        return warnings
    _check_integer_arithmetic(inspection, recipe)
    if not inspection.float_operators:
        return warnings
    named = ", ".join(inspection.float_operators)
    if not allow_float_operators:
        raise ConversionError(
            f"recipe {recipe.value} left operators that compute in float: {named}. "
            "Replace the layers they come from, or allow float operators."
        )
    return (*warnings, f"these operators compute in float32 although the recipe is {recipe.value}: {named}")


def _flex_warnings(inspection: Inspection) -> tuple[str, ...]:
    if not inspection.flex_operators:
        return ()
    flex = ", ".join(inspection.flex_operators)
    return (
        f"the device needs TensorFlow's TF Select library, some 100 MB, and LiteRT cannot test or judge the model: {flex}",
    )


def _state_warnings(inspection: Inspection) -> tuple[str, ...]:
    if all(use.name != "ASSIGN_VARIABLE" for use in inspection.operators):
        return ()
    return (
        "the model changes variables when it runs, so a row's answer depends on the rows before it. Where that is not a stream's "
        "memory, the model was exported in training mode: export with training=False (model.export does)",
    )


def _check_weights(inspection: Inspection, recipe: Recipe) -> None:
    """An operator that computes in int8 may read weights of four bits; nothing else in the file tells of them."""
    narrow = {dtype: use.name for use in inspection.operators for dtype in use.input_dtypes if dtype in NARROW_TYPES}
    if narrow:
        named = ", ".join(f"{dtype} ({operator})" for dtype, operator in sorted(narrow.items()))
        raise ConversionError(
            f"the converted model stores weights as {named}, and recipe {recipe.value} as {recipe.storage.weights}. "
            "Export a model whose weights are float32; what was rounded to fewer bits before cannot be judged here."
        )


def _check_integer_arithmetic(inspection: Inspection, recipe: Recipe) -> None:
    if not any(recipe.activation_dtype in use.output_dtypes for use in inspection.computing_operators):
        raise ConversionError(
            f"recipe {recipe.value} gave a float model: none of its {inspection.num_computing_operators} operators "
            f"computes in {recipe.activation_dtype}. TensorFlow set no ranges; check the calibration data, "
            "and whether the model has a layer to quantize."
        )


def check_io_types(
    inspection: Inspection, signature: Signature, input_type: IoType, output_type: IoType, may_be_float: bool = False
) -> tuple[str, ...]:
    """Checks that real-valued inputs and outputs have the wanted types, and that integer ones kept theirs.

    Args:
        inspection: Of the converted model.
        signature: What was converted.
        input_type: Of real-valued inputs.
        output_type: Of real-valued outputs.
        may_be_float: Whether the types are nobody's wish, so that float32 will do where an operator has no other.

    Returns:
        Warnings: inputs and outputs that came out as float32 where another type is the default.

    Raises:
        ConversionError: A type is another than the wanted one.
    """
    return (
        *_check_side("input", inspection.inputs, signature.inputs, input_type, may_be_float),
        *_check_side("output", inspection.outputs, signature.outputs, output_type, may_be_float),
    )


def type_of(specs: Sequence[TensorSpec], declared: Sequence[TensorSpec], asked: IoType) -> IoType:
    """The type of the real-valued inputs or outputs: float32 as soon as one is."""
    real_valued = {spec.name for spec in declared if spec.dtype == IoType.FLOAT32.value}
    dtypes = {spec.dtype for spec in specs if spec.name in real_valued}
    return IoType.FLOAT32 if IoType.FLOAT32.value in dtypes else asked


def _check_side(
    side: str, found: Sequence[TensorSpec], declared: Sequence[TensorSpec], wanted: IoType, may_be_float: bool
) -> tuple[str, ...]:
    by_name = {spec.name: spec for spec in found}
    missing = [spec.name for spec in declared if spec.name not in by_name]
    if missing:
        raise ConversionError(
            f"the converted model lost {side}(s) {', '.join(missing)}; it has {', '.join(sorted(by_name))}. "
            f"Export a signature in which every {side} takes part in the computation."
        )
    warnings = []
    for spec in declared:
        expected = wanted.value if spec.dtype == IoType.FLOAT32.value else spec.dtype
        dtype = by_name[spec.name].dtype
        if dtype == expected:
            continue
        if not may_be_float or dtype != IoType.FLOAT32.value:
            raise ConversionError(
                f"{side} {spec.name!r} came out as {dtype}; {expected} was asked for, and "
                f"TensorFlow cannot give it here. Set {side}_type to {dtype}."
            )
        warnings.append(f"{side} {spec.name!r} is float32: the operator at it has no {expected} form")
    return tuple(warnings)


def load(name: str, data: bytes) -> TFLiteModel:
    """Loads a converted model with the runtime that devices use.

    Raises:
        ConversionError: The runtime refuses it; the message carries the runtime's reason.
    """
    try:
        refused = [scale for scale in inspect(data).refused_requantizations if scale.prevents_loading]
        if refused:  # LiteRT refuses most such files, and aborts the process over some
            raise ModelFileError(f"{refused[0].sentence}. Convert with recipe auto, which finds another way.")
        return TFLiteModel.load(data)
    except ModelFileError as error:
        raise ConversionError(f"{name} was converted but cannot run: {error}") from error
