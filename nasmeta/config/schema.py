"""Checks a composed configuration and builds objects from it.

Run-wide keys have their schema in keys.py. A group's schema is derived from the annotations of the class or
function that its `_target_` names. A misspelt key or a wrong value therefore fails before anything runs, for
a user's own plug-in as for a shipped one. All values come from the YAML under conf/; nothing here has a
default.
"""

import importlib
import inspect
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, create_model

from nasmeta.config.keys import SETTINGS, RunKeys
from nasmeta.errors import ConfigError, UntrustedError
from nasmeta.runtime.paths import cache_folder
from nasmeta.runtime.stored import Trust, UsersOnly, plain
from nasmeta.runtime.validation import Strict, validated

OmegaConf.register_new_resolver("user_cache", cache_folder, replace=True)

log = logging.getLogger(__name__)

T = TypeVar("T")

INJECTED: dict[str, frozenset[str]] = {
    "meta_learner": frozenset({"batch_norm"}),
    "strategy": frozenset({"context"}),
    "evaluator": frozenset({"problem", "keep"}),
    "dataset": frozenset({"shot"}),
    "executor": frozenset({"run", "rebuild", "follow", "stop"}),
    "logger": frozenset({"directory"}),
}
"""Constructor arguments that the run passes in; all others come from the YAML."""

BASES = {
    "search_space": "nasmeta.search_spaces.base.SearchSpace",
    "meta_learner": "nasmeta.meta_learners.base.MetaLearner",
    "strategy": "nasmeta.strategies.base.Strategy",
    "evaluator": "nasmeta.evaluators.base.Evaluator",
    "dataset": "nasmeta.datasets.base.Dataset",
    "augment": "nasmeta.datasets.augment.base.Augmentation",
    "executor": "nasmeta.executors.base.Executor",
    "optimizer": "nasmeta.training.optimizers.OuterOptimizer",
    "logger": "nasmeta.reporting.trackers.base.Tracker",
}
"""The class that a group's `_target_` must be derived from. An optimizer's is a function that returns one."""

OPTION_GROUPS = tuple(BASES)
"""The groups of which a command chooses options."""

LOGGER = "logger"
"""The group of which it may choose several: a run-wide key, with the values of each by name."""

GROUPS = tuple(group for group in OPTION_GROUPS if group != LOGGER)


@dataclass(frozen=True)
class Config:
    """A checked configuration.

    keys: the run-wide keys. groups: the plain values of each group, with its `_target_`. trust: which of
    the values the user answers for.
    """

    keys: RunKeys
    groups: dict[str, dict[str, Any]]
    trust: Trust = field(default=Trust(everything=True), compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The plain values that a checkpoint stores; `parse` makes a Config of them again."""
        return {**self.keys.model_dump(mode="json"), **self.groups}

    @cached_property
    def needs_trust(self) -> bool:
        """Whether a command takes it with `--trust-code` only, once it is stored."""
        return needs_trust(self.to_dict())

    def target(self, group: str) -> Any:
        """The class, or for an optimizer the function, that the group's option names."""
        return resolve(group, self.groups[group]["_target_"], trusted=True)

    def build(self, group: str, **injected: Any) -> Any:
        """Builds the group's object, see `build`."""
        return build(group, self.groups[group], self.trust, **injected)

    def trackers(self, directory: Path) -> list[Any]:
        """Builds the chosen trackers of the run in `directory`."""
        return [build(LOGGER, each, self.trust, directory=directory) for each in self.keys.logger.values()]

    def used(self, group: str) -> dict[str, Any]:
        """The group's values as `build` uses them: without what a stored configuration may not choose."""
        option = self.groups[group]
        return option | _replaced(group, self.target(group), option, group, self.trust)

    def hparams(self) -> dict[str, str | int | float | bool]:
        """Every value by its dotted key; lists and None as text."""
        return dict(flat(self.to_dict(), ""))


def flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str | int | float | bool]]:
    """Every value with its dotted key, after `prefix`; lists and None as text."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, str | int | float | bool) else str(value)


def parse(
    values: DictConfig | Mapping[str, Any],
    *,
    trusted: bool,
    typed: Collection[str] = (),
    groups: Collection[str] = OPTION_GROUPS,
) -> Config:
    """Checks a configuration; raises ConfigError, which names the key, the value and what would be right.

    values: what Hydra composed, whose interpolations are resolved here, once; or stored values, which have
    none. Values of a checkpoint, a run directory or a sweep are not `trusted`: they may name only options of
    nasmeta, and nothing that is UsersOnly. `typed` are the keys among them that the user typed; these are
    trusted. Only the options of `groups` are checked and kept.
    """
    trust = Trust(trusted, frozenset(typed))
    if isinstance(values, DictConfig):
        values = resolved(values)
    values = plain(values, allow_nan=True)  # a model below names the key of such a number
    options = {name: values.pop(name, None) for name in GROUPS}
    for choice in SETTINGS:
        values.pop(choice, None)
    keys = validated(RunKeys, values, "")
    several = keys.logger if LOGGER in groups else {}
    trackers = {name: check_option(LOGGER, each, trust, f"{LOGGER}.{name}") for name, each in several.items()}
    chosen = {name: check_option(name, options[name], trust) for name in groups if name != LOGGER}
    return Config(keys.model_copy(update={LOGGER: trackers}), chosen, trust)


def needs_trust(values: Mapping[str, Any]) -> bool:
    """Whether a command takes the stored configuration only with `--trust-code`."""
    try:
        parse(values, trusted=False)
    except UntrustedError:
        return True
    except ConfigError:  # the command itself reports it
        return False
    return False


def resolved(config: DictConfig) -> dict[str, Any]:
    """The values of a composed configuration, with its interpolations resolved.

    Only for a configuration that the user wrote, since resolving runs what an interpolation names
    (`${oc.env:HOME}`). Raises ConfigError, which names the key.
    """
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise ConfigError(f"{missing[0]}: has no value and needs one: add {missing[0]}=VALUE")
    try:
        values = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    return {str(key): value for key, value in values.items()}  # type: ignore[union-attr]


def buildable(make: Callable[[], T]) -> T:
    """Returns make(); raises ConfigError if what it builds raises an error that is not meant for users."""
    try:
        return make()
    except (ArithmeticError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ConfigError(f"configuration: its parts cannot be built: {reason}; see --debug") from error


def build(group: str, option: Mapping[str, Any], trust: Trust, **injected: Any) -> Any:
    """Builds a group's object from a checked option. Its constructor gets the `injected` arguments it names.

    An option inside the option is passed as a function that makes it, with the same arguments injected.
    """

    def partly(node: Mapping[str, Any], key: str) -> Any:
        target = resolve(group, node["_target_"], trusted=True)
        values = {name: value for name, value in node.items() if name != "_target_"}
        values |= _replaced(group, target, values, key, trust)
        values |= {name: partly(v, f"{key}.{name}") for name, v in values.items() if _is_option(v)}
        taken = {name: value for name, value in injected.items() if name in _parameters(target)}
        return partial(target, **values, **taken)

    return partly(option, group)()


def _replaced(group: str, target: Any, values: Mapping[str, Any], key: str, trust: Trust) -> dict[str, Any]:
    """The replacements of values that a stored configuration may not choose (see UsersOnly)."""
    replaced = {}
    for name, mark in _marks(group, target):
        if mark.replace and not mark.harmless(values[name]) and not trust.covers(f"{key}.{name}"):
            replaced[name] = mark.instead
            log.info("%s.%s: %s", key, name, mark.reason)
    return replaced


def _is_option(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def check_option(group: str, node: Any, trust: Trust, key: str = "") -> dict[str, Any]:
    """The checked values of an option. `key` is its place, if it is inside another option of the group."""
    key = key or group
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise ConfigError(
            f"{key}: has no _target_; choose an option: {group}=NAME (see `nasmeta list {group}`)"
        )
    trusted = trust.covers(f"{key}._target_")
    target = resolve(group, node["_target_"], trusted=trusted, where=key)
    inner = {
        name: check_option(group, value, trust, f"{key}.{name}")
        for name, value in node.items()
        if _is_option(value)
    }
    values = {name: value for name, value in node.items() if name != "_target_"}
    # What an inner option makes is checked when it is made. Here its key only has to take a function.
    checked = validated(_schema(group, target), values | dict.fromkeys(inner, check_option), f"{key}.")
    kept = checked.model_dump()
    for name, mark in _marks(group, target):
        if not (mark.replace or mark.harmless(kept[name]) or trust.covers(f"{key}.{name}")):
            raise UntrustedError(
                f"{key}.{name}: {kept[name]!r} comes from a stored configuration, and {mark.reason}: "
                f"type {key}.{name}=VALUE, or add --trust-code if you know who made it"
            )
    return {"_target_": node["_target_"], **kept, **inner}


def resolve(group: str, path: Any, *, trusted: bool, where: str = "") -> Any:
    """The class or function that a `_target_` names.

    Raises ConfigError if it does not exist or does not fit the group, and UntrustedError if it is outside
    nasmeta and not `trusted`. `where` is the option's key, if that is not the group's.
    """
    key = f"{where or group}._target_"
    if not isinstance(path, str) or "." not in path:
        raise ConfigError(f"{key}: {path!r} is not the dotted name of a class")
    package = BASES[group].rpartition(".")[0].removesuffix(".base")
    if not trusted and not path.startswith(f"{package}."):
        raise UntrustedError(
            f"{key}: {path!r} is outside {package} and comes from a stored configuration: "
            "add --trust-code if you know who made it"
        )
    module, _, name = path.rpartition(".")
    try:
        target = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError, OSError, RecursionError) as error:
        raise ConfigError(f"{key}: {path!r} cannot be imported: {error}") from error
    # A name reached through one of our modules may still be somebody else's, as in nasmeta.run.directory.os.
    if not trusted and not str(getattr(target, "__module__", "")).startswith("nasmeta."):
        raise UntrustedError(f"{key}: {path!r} is not defined in nasmeta: add --trust-code to allow it")
    _check_kind(group, key, path, target)
    return target


def _check_kind(group: str, key: str, path: str, target: Any) -> None:
    module, _, name = BASES[group].rpartition(".")
    base = getattr(importlib.import_module(module), name)
    if group == "optimizer":
        fits = inspect.isfunction(target) and get_type_hints(target).get("return") is base
        wanted = f"a function that returns {BASES[group]}"
    else:
        fits = inspect.isclass(target) and issubclass(target, base)
        wanted = f"a subclass of {BASES[group]}"
    if not fits:
        raise ConfigError(f"{key}: {path!r} is not {wanted}")
    if inspect.isabstract(target):
        raise ConfigError(f"{key}: {path!r} does not define {', '.join(sorted(target.__abstractmethods__))}")


def _parameters(target: Any) -> list[str]:
    signature = inspect.signature(target.__init__ if inspect.isclass(target) else target)
    return [name for name in signature.parameters if name != "self"]


@cache
def _schema(group: str, target: Any) -> type[BaseModel]:
    """A model with a field for every constructor argument that is not injected."""
    function = target.__init__ if inspect.isclass(target) else target
    hints = get_type_hints(function, include_extras=True) if _parameters(target) else {}
    injected = INJECTED.get(group, frozenset())
    names = [name for name in _parameters(target) if name not in injected and name not in ("args", "kwargs")]
    fields: dict[str, Any] = {name: (hints.get(name, Any), ...) for name in names}
    return create_model(target.__name__, __config__=Strict, **fields)


@cache
def _marks(group: str, target: Any) -> list[tuple[str, UsersOnly]]:
    """The arguments of `target` that are marked as UsersOnly, each with its mark."""
    fields = _schema(group, target).model_fields
    return [
        (name, mark) for name, each in fields.items() for mark in each.metadata if isinstance(mark, UsersOnly)
    ]
