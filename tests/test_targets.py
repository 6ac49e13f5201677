"""Boards: each has limits that its search space can meet, and operations that others lack."""

import pytest

from nasmeta.cli.catalogue import catalogue
from nasmeta.config.conf_dir import config_directory
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import ConfigError
from nasmeta.run.composition import Composition
from tests.option_names import names

BOARDS = sorted({*names("target")} - {"none", "mcu"})


def composition(*overrides: str) -> Composition:
    return Composition.of(parse(composed(["device=cpu", *overrides]), trusted=False))


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_has_limits_and_the_operations_of_its_space(board: str) -> None:
    whole = composition(f"target={board}")
    keys = whole.config.keys.constraints
    assert keys.bits == 8
    assert keys.max_memory_kib
    assert keys.max_flash_kib
    assert set(whole.space.used_operations) <= set(keys.operations or [])
    assert whole.config.groups["search_space"] == composed(["search_space=conv_mcu"])["search_space"]


def test_there_are_boards_and_they_are_listed() -> None:
    assert len(BOARDS) >= 6
    listed = catalogue([config_directory()], "target")
    for board in BOARDS:
        (line,) = [line for line in listed.splitlines() if line.split()[0] == board]
        assert "of RAM" in line
        assert "of flash" in line


def test_what_is_typed_wins_whatever_the_order() -> None:
    typed = composed(["constraints.max_memory_kib=7", "target=pico", "constraints.bits=32"]).constraints
    assert (typed.max_memory_kib, typed.max_flash_kib, typed.bits) == (7, 1024, 32)


def test_a_target_goes_before_a_recipe() -> None:
    both = composed(["target=pico", "experiment=spos_quick"])
    assert both.search_space.activations == ["relu", "relu6"]
    assert both.constraints.max_flops == composed(["experiment=spos_quick"]).constraints.max_flops


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["target=pica"], r"target=pica: no such option; did you mean 'pico'"),
        (
            ["target=pico", "search_space=conv"],
            r"search_space: .* gn, gelu, silu, se, .*conv_mcu",
        ),
        (
            ["target=pico", "search_space.activations=[relu,gelu]"],
            r"search_space: its .* have gelu,",
        ),
        (["constraints.bits=16"], r"constraints\.bits: got 16"),
        (["constraints.max_memory_kib=0"], r"constraints\.max_memory_kib: got 0"),
    ],
)
def test_what_does_not_fit_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        composition(*overrides)
    assert "\n" not in str(raised.value)
