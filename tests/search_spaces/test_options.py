"""Spaces that cannot be: each mistake of a configuration names its key and what would be right."""

import re
from typing import Any

import pytest

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import ConfigError
from tests.search_spaces.shipped import shipped

MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("conv", {"ops": ["conv7"]}, r"^search_space\.ops: 'conv7' is unknown; did you mean 'conv"),
    ("conv", {"ops": []}, r"^search_space\.ops: the list is empty; use one or more of conv1, conv3"),
    ("conv", {"norms": ["bn", "bn"]}, r"^search_space\.norms: 'bn' .*twice"),
    ("conv", {"activations": ["tanh"]}, r"^search_space\.activations: 'tanh' is unknown"),
    (
        "conv",
        {"downsamples": ["none"]},
        r"^search_space\.downsamples: 'none' is unknown; valid: avg, max, stride",
    ),
    ("conv", {"heads": ["gapp"]}, r"^search_space\.heads: 'gapp' is unknown; did you mean 'gap'"),
    (
        "conv",
        {"widths": []},
        r"^search_space\.widths: the list is empty",
    ),
    ("conv", {"widths": [64, 32]}, r"^search_space\.widths: \[64, 32\] must ascend: \[32, 64\]"),
    (
        "conv",
        {"min_blocks": 9},
        r"^search_space\.min_blocks=9 is above search_space\.max_blocks=8; use min_blocks",
    ),
    (
        "conv",
        {"min_downsamples": 5},
        r"^search_space\.min_downsamples=5 is above search_space\.max_downsamples=4",
    ),
    ("conv", {"min_downsamples": 3}, r"^search_space\.min_downsamples=3 is above search_space\.min_blocks=2"),
    ("conv", {"max_blocks": 3}, r"^search_space\.max_downsamples=4 is above search_space\.max_blocks=3"),
    ("mlp", {"min_layers": 6}, r"^search_space\.min_layers=6 is above search_space\.max_layers=5"),
    ("mlp", {"norms": ["layr"]}, r"^search_space\.norms: 'layr' is unknown; did you mean 'layer'"),
    ("mlp", {"widths": [40, 40]}, r"^search_space\.widths: 40 .*twice"),
]


@pytest.mark.parametrize("name, changed, message", MISTAKES)
def test_mistakes(name: str, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shipped(name, **changed)


@pytest.mark.parametrize(
    "override", ["search_space.widths=[2,8]", "search_space.min_blocks=0", "search_space.min_downsamples=-1"]
)
def test_numbers_out_of_range_are_refused_by_their_annotations(override: str) -> None:
    key, _, value = override.partition("=")
    with pytest.raises(ConfigError, match=rf"{re.escape(key)}.*{value.strip('[').split(',')[0]}"):
        parse(composed([override]), trusted=True)


def test_a_narrow_space_has_the_nearest_reference() -> None:
    space = shipped(
        "conv", widths=[16, 48, 96], ops=["sep3"], activations=["silu"], max_blocks=3, max_downsamples=3
    )
    block = "sep3-48.bn.silu.max"
    assert str(space.reference()) == f"{block}_{block}_{block}_flatten"
    assert space.parse(str(space.reference())) == space.reference()
