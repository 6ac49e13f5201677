"""The strings of architectures: a file format, and its errors."""

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces.conv import architecture as conv_names
from nasmeta.search_spaces.mlp import architecture as mlp_names
from nasmeta.seeding import stream
from tests.search_spaces.shipped import shipped

CONV3 = "conv3-64.bn.relu.max"


def test_published_names_stay() -> None:
    # Strings of these names are in people's journals and checkpoints: add to them, never rename.
    assert set(conv_names.OPERATIONS) >= {
        "conv1", "conv3", "conv5", "sep3", "sep5", "res1", "res3", "res5"
    }  # fmt: skip
    assert set(conv_names.NORMS) >= {"bn", "gn"}
    assert set(conv_names.ACTIVATIONS) >= {"relu", "gelu", "silu"}
    assert set(conv_names.DOWNSAMPLES) >= {"none", "max", "avg", "stride"}
    assert set(conv_names.HEADS) >= {"flatten", "gap"}
    assert set(mlp_names.ACTIVATIONS) >= {"relu", "tanh", "gelu", "silu"}
    assert set(mlp_names.NORMS) >= {"none", "layer", "batch"}


def test_named_architectures() -> None:
    conv, mlp = shipped("conv"), shipped("mlp")
    assert str(conv.reference()) == "_".join([CONV3] * 4 + ["flatten"])
    assert str(conv.initial()) == "conv3-16.bn.relu.max_conv3-16.bn.relu.max_gap"
    assert str(mlp.reference()) == "fc40.relu.none_fc40.relu.none"
    assert str(mlp.initial()) == "fc16.relu.none"


@pytest.mark.parametrize(
    "text",
    [
        "conv3-24.bn.relu.max_conv3-48.bn.relu.max_conv3-64.bn.relu.max_conv3-96.bn.relu.max_flatten",
        "conv5-32.bn.relu.max_conv3-64.bn.relu.max_conv3-96.bn.relu.max_conv3-128.bn.relu.max_flatten",
        "conv3-32.bn.relu.max_res3-32.bn.relu.none_conv3-64.bn.relu.max_res3-64.bn.relu.none_"
        "conv3-96.bn.relu.max_res3-96.bn.relu.none_gap",
        "conv3-32.bn.silu.stride_conv3-32.bn.silu.none+skip+se_sep5-64.bn.silu.avg+skip_res5-64.gn.gelu.none+se_"
        "conv3-96.bn.silu.max+se_conv3-96.bn.silu.none+skip_conv3-128.bn.silu.max+skip_flatten",
    ],
)
def test_the_space_holds_what_beats_its_reference(text: str) -> None:
    assert str(shipped("conv").parse(text)) == text


@pytest.mark.parametrize("name", ["conv", "mlp"])
def test_strings_pass_through_hydra(name: str) -> None:
    space, rng = shipped(name), stream(0, "hydra")
    for text in [str(space.reference()), *(str(space.sample(rng)) for _ in range(40))]:
        override = OverridesParser.create().parse_override(f"arch={text}")
        assert override.value() == text


CONV_ERRORS = {
    "conv4-64.bn.relu.max_flatten": r"^block 1 \('conv4-64.*'\): operation 'conv4' .* did you mean 'conv",
    f"{CONV3}_conv3-65.bn.relu.max_gap": r"^block 2 \(.*\): width '65'.*\b64\b",
    f"{CONV3}_conv3-064.bn.relu.max_gap": r"width '064' .*\b64\b",
    f"{CONV3}_conv3-x.bn.relu.max_gap": r"width 'x' .* 12, ",
    f"{CONV3}_conv3-٦٤.bn.relu.max_gap": r"width '٦٤' ",
    f"{CONV3}_conv3-64.b.relu.max_gap": r"block 2 .* norm 'b' .* did you mean 'bn'\?$",
    f"{CONV3}_conv3-64.bn.rellu.max_gap": r"block 2 .* activation 'rellu' .* did you mean 'relu'\?$",
    f"{CONV3}_conv3-64.bn.relu.mx_gap": r"block 2 .* downsampling 'mx' .* did you mean 'max'\?$",
    f"{CONV3}_conv3-64.bn.relu.max+skp_gap": r"block 2 .* '\+skp' .* valid: \+skip, \+se, \+skip\+se$",
    f"{CONV3}_conv3-64.bn.relu.max+se+skip_gap": r"block 2 .* '\+se\+skip' .* valid: .*, \+skip\+se$",
    f"{CONV3}_conv3-64.bn.relu.max+_gap": r"block 2: 'conv3-64.bn.relu.max\+' is not operation-width",
    f"{CONV3}_conv3-64.bn.relu_gap": r"block 2: 'conv3-64.bn.relu' is not operation-width\.norm\.activation",
    f"{CONV3}_res3-64.bn.relu.max+skip_gap": r"block 2 .*: '\+skip' .*\+se$",
    f"{CONV3}_sep1-64.bn.relu.max_gap": r"block 2 .* operation 'sep1' .* did you mean 'sep[35]'",
    f"{CONV3}_{CONV3}_flat": r"^the head 'flat' .* did you mean 'flatten'\?$",
    f"{CONV3}_{CONV3}": r"^the head 'conv3-64.bn.relu.max' .* valid: flatten, gap$",
    f"{CONV3}_gap": r"is not in the search space: 1 blocks, and the space has 2 to 8$",
    "_".join([CONV3] * 9 + ["gap"]): r"9 blocks, and the space has 2 to 8$",
    "_".join([CONV3] * 5 + ["gap"]): r"5 downsampling blocks, and the space has 2 to 4$",
    f"{CONV3}_conv3-64.bn.relu.none_gap": r"1 downsampling blocks, and the space has 2 to 4$",
    "": r"^'' is not a conv architecture: .*conv3-64",
}

MLP_ERRORS = {
    "fc40.relu": r"^layer 1: 'fc40.relu' is not fc<width>\.activation\.norm, such as fc40\.relu\.none$",
    "": r"^layer 1: '' is not fc<width>",
    "fc40.relu.none_fc41.relu.none": r"^layer 2 \('fc41.relu.none'\): width '41' .*\b40\b",
    "fc40.rel.none": r"activation 'rel' .* did you mean 'relu'\?$",
    "fc40.relu.bach": r"norm 'bach' .* did you mean 'batch'\?$",
    "fc40.relu.none+skip": r"layer 1: a skip needs a layer of 40 units before it$",
    "fc64.relu.none_fc40.relu.none+skip": r"layer 2: a skip needs a layer of 40 units before it$",
    "fc40.relu.none_fc40.relu.none+skp": r"^layer 2 .* \+ 'skp' .* did you mean 'skip'\?$",
    "_".join(["fc40.relu.none"] * 6): r"6 layers, and the space has 1 to 5$",
}


@pytest.mark.parametrize(
    "name, text, message",
    [("conv", *item) for item in CONV_ERRORS.items()] + [("mlp", *item) for item in MLP_ERRORS.items()],
)
def test_errors_say_what_is_wrong_where_and_what_is_right(name: str, text: str, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        shipped(name).parse(text)


def test_long_garbage_is_cut() -> None:
    with pytest.raises(ArchitectureError, match=r"^block 1: 'x+\.\.\.' is not ") as caught:
        shipped("conv").parse("x" * 10_000 + "_gap")
    assert len(str(caught.value)) < 200


RESTRICTED: dict[str, dict[str, Any]] = {
    "sep3-64.bn.relu.max": {"ops": ["conv3"]},
    f"{CONV3}+skip": {"skip": False},
    f"{CONV3}+se": {"squeeze_excite": False},
    "conv3-64.bn.relu.avg": {"downsamples": ["max"]},
}


@pytest.mark.parametrize("block, options", RESTRICTED.items())
def test_a_narrower_space_refuses_what_it_leaves_out(block: str, options: dict[str, Any]) -> None:
    text = f"{block}_{CONV3}_gap"
    assert str(shipped("conv").parse(text)) == text
    with pytest.raises(ArchitectureError, match=r"block 1 .* is not in the search space"):
        shipped("conv", **options).parse(text)


def test_res_has_one_form() -> None:
    with pytest.raises(ArchitectureError, match=r"\+skip"):
        conv_names.ConvBlock("res", 64, 3, "bn", "relu", "max", skip=True)
    with pytest.raises(ArchitectureError, match=r"'sep' .*kernel 1; valid: "):
        conv_names.ConvBlock("sep", 64, 1, "bn", "relu", "max")
