"""What a training leaves, and what best.pt holds: a meta-learned network with all that using it needs.

Loading it builds nothing but the search space and the meta-learner, and those only once they are used. The
strategy, evaluator and executor that found the network need not be installed.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor

from nasmeta import __version__
from nasmeta.config.schema import Config, build, buildable, check_option
from nasmeta.datasets import contents
from nasmeta.datasets.contents import Contents
from nasmeta.datasets.decode import Preprocessing
from nasmeta.errors import CheckpointError, ConfigError
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.state import MetaState
from nasmeta.meta_learners.task_architecture import TaskArchitecture
from nasmeta.networks.execution import Execution
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.runtime.stored import Trust, plain
from nasmeta.runtime.validation import first_problem
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.relaxation.adaptive import with_adaptive
from nasmeta.search_spaces.relaxation.spec import Adaptation, Relaxation
from nasmeta.task import SPLITS, Kind, TaskSpec
from nasmeta.training import checkpoint
from nasmeta.training.calibration import Calibration
from nasmeta.training.weights import Weights

FORMAT = 4
"""The format of best.pt. It is raised if readers of the old format could not read the new one."""

MAX_SIZE = 1 << 16
"""The largest side of an image, number of features, and number of classes in an episode."""

MAX_CLASSES = 1 << 24

SLACK = 10_000_000
"""How many parameters (40 MB) a network may have that are not stored, such as a head that is not used."""

ONE_TASK = Execution()
"""How a single task is computed."""


@dataclass(frozen=True)
class TaskAdaptation:
    """How an architecture is found for every task: the relaxed network, and how it adapts."""

    relaxation: Relaxation
    adaptation: Adaptation


@dataclass(frozen=True)
class TrainedNetwork:
    """A meta-learned network.

    path: its file. arch: the architecture's canonical string. task: the tasks that it was meta-trained for.
    config: the plain values of its run's configuration; search_space, meta_learner and batch_norm make the
    network, the others say how it was trained. adaptive: None unless every task has its own architecture.
    parameters, statistics: see Weights. preprocessing: how its images were prepared; None if it was not
    trained on images. data: the contents of its dataset's splits. provisional: whether it is a candidate of
    a search, not trained in full. calibration: None for such a candidate, and for regression. iterations: its
    meta-iterations. metrics: its results. trust: which values of `config` the user answers for.
    """

    path: Path
    arch: str
    task: TaskSpec
    config: dict[str, Any]
    adaptive: TaskAdaptation | None
    parameters: dict[str, Tensor]
    statistics: dict[str, Tensor]
    preprocessing: Preprocessing | None
    data: Contents
    provisional: bool
    calibration: Calibration | None
    iterations: int
    metrics: dict[str, Any]
    trust: Trust = field(compare=False)

    @classmethod
    def load(cls, path: Path, *, trusted: bool) -> "TrainedNetwork":
        """Reads a best.pt, or the one inside a run directory.

        Everything is checked here in time linear in the file's size, except for whether the tensors belong
        to the architecture; `state` checks that. `trusted` lets `config` name code outside nasmeta. Raises
        CheckpointError, which names the file.
        """
        path, inside = (path / "best.pt", path) if path.is_dir() else (path, None)
        stored = checkpoint.load(path, inside=inside)
        _check_format(path, stored)
        try:
            values = dict(_Stored.model_validate(stored))
        except ValidationError as error:
            raise CheckpointError(f"{path}: not a checkpoint of nasmeta: {first_problem(error)}") from error
        except ConfigError as error:
            raise CheckpointError(f"{path}: its configuration is damaged: {error}") from error
        network = cls(path=path, trust=Trust(trusted), **values)
        network._check_preprocessing()
        return network

    def save(self, *, inside: Path | None = None) -> None:
        """Writes the network to `path` atomically; `inside` is that of `nasmeta.runtime.files`."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        del values["path"], values["trust"]
        for name in ("task", "adaptive", "preprocessing", "calibration"):
            values[name] = None if values[name] is None else asdict(values[name])
        values["data"] = contents.plain(self.data)
        checkpoint.save(self.path, {"format": FORMAT, "nasmeta": __version__, **values}, inside=inside)

    def changed(self, config: Config) -> "TrainedNetwork":
        """The same tensors, used as another configuration says."""
        return replace(self, config={**self.config, **config.to_dict()}, trust=config.trust)

    @cached_property
    def space(self) -> SearchSpace[Any]:
        """The search space of the architecture. Raises ConfigError."""
        space: SearchSpace[Any] = self._built("search_space")
        return space if self.adaptive is None else with_adaptive(space, self.adaptive.relaxation)

    @cached_property
    def learner(self) -> MetaLearner:
        """The meta-learner that adapts the network. Raises ConfigError."""
        policy = BatchNormPolicy.parse(self.config.get("batch_norm"))
        learner: MetaLearner = self._built("meta_learner", batch_norm=policy)
        if self.adaptive is not None:
            learner = TaskArchitecture(learner, self.adaptive.adaptation)
        learner.check(self.task)
        return learner

    def state(self, device: torch.device, execution: Execution = ONE_TASK) -> MetaState:
        """The meta-learned state on `device`.

        Raises CheckpointError if the tensors belong to another architecture.
        """
        space, learner = self.space, self.learner
        arch = space.parse(self.arch)
        with checkpoint.fitting(self.path):
            stored = sum(value.numel() for value in self.parameters.values())
            with torch.device("meta"):  # building a network takes memory
                params = sum(value.numel() for value in space.build(arch, self.task).parameters())
            if params > stored + SLACK:
                raise ValueError(f"{params} parameters, and {stored} are stored")
            weights = Weights(self.arch, self.parameters, self.statistics)
            return weights.state(space, learner, self.task, device, execution)

    def _built(self, group: str, **injected: Any) -> Any:
        option = check_option(group, self.config.get(group), self.trust)
        return buildable(lambda: build(group, option, self.trust, **injected))

    def _check_preprocessing(self) -> None:
        """Raises CheckpointError if images are prepared for another network."""
        if self.preprocessing is None:
            return
        channels, size = self.preprocessing.channels, self.preprocessing.size
        mean, std = self.preprocessing.mean, self.preprocessing.std
        moments = len(mean) == len(std) == channels and all(std)
        if self.task.input_shape != (channels, size, size) or channels not in (1, 3) or not moments:
            raise CheckpointError(f"{self.path}: its preprocessing gives other images than its network takes")


def _check_format(path: Path, stored: Mapping[str, Any]) -> None:
    version, missing = stored.get("format"), sorted(_Stored.model_fields.keys() - stored.keys())
    if isinstance(version, int) and version != FORMAT:
        remedy = "train it again" if version < FORMAT else "update nasmeta"
        raise CheckpointError(
            f"{path}: has format {version}, this nasmeta {__version__} reads {FORMAT}: {remedy} "
            f"(it was written by {stored.get('nasmeta')})"
        )
    if not isinstance(version, int) or missing:
        raise CheckpointError(
            f"{path}: not a checkpoint of nasmeta: it lacks {', '.join(missing) or 'format'}"
        )


class _Task(BaseModel):
    """A TaskSpec's fields, limited to sizes that a network can be built for."""

    model_config = ConfigDict(strict=True, extra="forbid")
    kind: Kind
    input_shape: Annotated[
        tuple[Annotated[int, Field(ge=1, le=MAX_SIZE)], ...], Field(min_length=1, max_length=3)
    ]
    outputs: Annotated[int, Field(ge=1, le=MAX_SIZE)]
    train_classes: Annotated[int, Field(ge=0, le=MAX_CLASSES)]


def _task(value: Any) -> TaskSpec:
    return TaskSpec(**_Task.model_validate(value).model_dump())


def _data(value: Any) -> Contents:
    data = contents.read(value)
    missing = [f"data.{split}" for split in SPLITS if split not in data]
    if missing:
        raise ValueError(f"it lacks {missing[0]}")
    return data


class _Stored(BaseModel):
    """What a best.pt holds besides its format and version."""

    model_config = ConfigDict(strict=True, extra="ignore", arbitrary_types_allowed=True)
    arch: Annotated[str, Field(max_length=checkpoint.MAX_ARCH)]
    task: Annotated[TaskSpec, BeforeValidator(_task)]
    config: Annotated[dict[str, Any], BeforeValidator(plain)]
    adaptive: Annotated[
        TaskAdaptation | None, BeforeValidator(TypeAdapter(TaskAdaptation | None).validate_python)
    ]
    parameters: dict[str, Tensor]
    statistics: dict[str, Tensor]
    preprocessing: Annotated[
        Preprocessing | None, BeforeValidator(TypeAdapter(Preprocessing | None).validate_python)
    ]
    data: Annotated[Any, BeforeValidator(_data)]
    provisional: bool
    calibration: Annotated[
        Calibration | None, BeforeValidator(TypeAdapter(Calibration | None).validate_python)
    ]
    iterations: int
    metrics: Annotated[dict[str, Any], BeforeValidator(plain)]
