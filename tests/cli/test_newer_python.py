"""Python 3.14 checks the help of an option when it is added, and refuses Hydra's; here on any Python."""

import argparse
from typing import Any

import pytest

from nasmeta.cli.arguments import parsed
from nasmeta.cli.main import main


@pytest.fixture(autouse=True)
def checked_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """What argparse of Python 3.14 does in `_check_help` and `_expand_help`."""
    original = argparse._ActionsContainer.add_argument

    def add_argument(self: Any, *names: Any, **options: Any) -> argparse.Action:
        action = original(self, *names, **options)
        if action.help and hasattr(self, "_get_formatter"):
            try:
                if "%" in action.help:
                    assert action.help % {**vars(action), "prog": self.prog}
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError("badly formed help string") from error
        return action

    monkeypatch.setattr(argparse._ActionsContainer, "add_argument", add_argument)


def test_the_check_refuses_hydras_own_parser() -> None:
    from hydra._internal.utils import get_args_parser

    with pytest.raises(ValueError, match="badly formed help string"):
        get_args_parser()


def test_hydras_commands_work(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--cfg", "job"]) == 0
    assert "search_space:" in capfd.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["search", "--hydra-help"])
    assert ended.value.code == 0
    assert "--shell-completion" in capfd.readouterr().out


def test_our_own_parser_passes() -> None:
    assert parsed(["compare", "outputs"]).command == "compare"
