"""Imported by the server of kills.py alone: the processes that it forks have composed a run already."""

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from tests import shortcuts
from tests.cli.runs import TINY

shortcuts.install()
parse(composed(TINY), trusted=True)
