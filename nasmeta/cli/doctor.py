"""`nasmeta doctor`: whether this machine can do a run, what the run would cost, and what is wrong."""

import os
import platform
import shutil
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

import torch
from packaging.requirements import Requirement
from packaging.version import Version

from nasmeta.cli.bench import peak_mib, times
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.config.shipped import option_of
from nasmeta.errors import ConfigError, NasmetaError
from nasmeta.reporting.numbers import duration
from nasmeta.run.composition import Composition
from nasmeta.run.constraints import check_feasible
from nasmeta.run.rounds import rounds_of, trainings
from nasmeta.search_spaces.relaxation.adaptive import ADAPTIVE
from nasmeta.training.gradient_check import gradient_error, is_derivative

TOLERANCE = 1e-4
"""The largest relative error of a meta-gradient, which rounding in float64 can explain."""

STEPS = 5
"""Meta-iterations, and batches of validation tasks, that are timed."""

FREE_MIB = 500
"""Disk space below which a run may end early."""

OUTPUTS = Path("outputs")
"""The folder below which runs are stored, unless hydra.run.dir says otherwise."""

FOR_DEVELOPERS = {"dev", "docs"}
"""Extras that add nothing to what a user can do."""

Status = Literal["ok", "note", "wrong"]
Found = tuple[Status, str]


@dataclass(frozen=True)
class Finding:
    """What a check has found. status: `wrong` if it would keep the run from working or from being right."""

    status: Status
    what: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine(overrides: list[str]) -> Iterator[Finding]:
    """The findings about the run that `nasmeta search` would do with these overrides, as they are made.

    Raises ConfigError if the overrides are wrong. A check is left out if what it needs does not work.
    """
    config = parse(composed(overrides), trusted=True)
    yield _finding("versions", _versions)
    yield from _extras()
    yield _finding("outputs", _outputs)
    try:
        composition = Composition.of(config)
    except ConfigError:
        raise
    except NasmetaError as error:
        yield Finding("wrong", "composition", str(error))
        return
    yield _finding("device", lambda: _device(composition))
    yield _finding("constraints", lambda: _constraints(composition))
    if not composition.trains_networks:
        yield Finding("ok", "table", "results are looked up, no network is trained")
        return
    data = _finding("data", lambda: _data(composition))
    yield data
    if data.status != "wrong":
        yield _finding("meta-gradient", lambda: _meta_gradient(composition))
        yield _finding("cost", lambda: _cost(composition))


def _finding(what: str, check: Callable[[], Found]) -> Finding:
    """The finding of a check; an error that would end a run is one too."""
    try:
        status, text = check()
    except (NasmetaError, OSError, RuntimeError) as error:
        status, text = "wrong", " ".join(str(error).split())
    return Finding(status, what, text)


def _versions() -> Found:
    installed = {name: metadata.version(name) for name in ("nasmeta", "torch", "hydra-core", "omegaconf")}
    text = ", ".join([f"python {platform.python_version()}", *(f"{n} {v}" for n, v in installed.items())])
    missing = [str(requirement) for requirement in _requirements() if not _satisfied(requirement)]
    return ("wrong", f"{text}; not installed: {', '.join(missing)}") if missing else ("ok", text)


def _extras() -> Iterator[Finding]:
    """What is installed of what nasmeta can do more with."""
    extras = sorted(set(metadata.metadata("nasmeta").get_all("Provides-Extra") or []) - FOR_DEVELOPERS)
    there = [extra for extra in extras if all(map(_satisfied, _requirements(extra)))]
    yield Finding("ok", "extras", ", ".join(there) or "none is installed")
    if missing := [extra for extra in extras if extra not in there]:
        yield Finding("note", "extras", f'not installed: {", ".join(missing)}; pip install "nasmeta[NAME]"')


def _requirements(extra: str = "") -> list[Requirement]:
    """The packages that nasmeta needs, or only those of an extra."""
    every = [Requirement(text) for text in metadata.requires("nasmeta") or []]
    if not extra:
        return [r for r in every if r.marker is None or r.marker.evaluate({"extra": ""})]
    return [r for r in every if r.marker is not None and _is_of(r, extra)]


def _is_of(requirement: Requirement, extra: str) -> bool:
    assert requirement.marker is not None
    return requirement.marker.evaluate({"extra": extra}) and not requirement.marker.evaluate({"extra": ""})


def _satisfied(requirement: Requirement) -> bool:
    try:
        return requirement.specifier.contains(Version(metadata.version(requirement.name)), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def _outputs() -> Found:
    """Whether a run can write its files."""
    folder = next(path for path in [OUTPUTS.absolute(), *OUTPUTS.absolute().parents] if path.exists())
    with TemporaryFile(dir=folder):
        free = shutil.disk_usage(folder).free // 2**20
    text = f"{folder} is writable, {free:,} MiB free"
    return ("ok" if free >= FREE_MIB else "wrong", text)


def _device(composition: Composition) -> Found:
    device = composition.device
    used = ", ".join(f"{key} {value}" for key, value in composition.execution.in_use(device).items())
    threads = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores; {used}"
    if device.type != "cuda":
        return "ok", f"{device}, {threads}"
    card = torch.cuda.get_device_properties(device)
    tf32 = "tf32 and bf16" if card.major >= 8 else "fp32 only: tf32 and bf16 need compute capability 8.0"
    return (
        "ok",
        f"{device}: {card.name}, {card.total_memory // 2**20:,} MiB, compute capability "
        f"{card.major}.{card.minor} ({tf32}); {threads}",
    )


def _constraints(composition: Composition) -> Found:
    check_feasible(composition)
    limits = composition.config.keys.constraints.model_dump(exclude_none=True)
    text = ", ".join(f"{key}={value}" for key, value in limits.items())
    return "ok", f"{text}: some architecture meets them" if text else "no limits"


def _data(composition: Composition) -> Found:
    """The classes and images of every split, and what to know about them."""
    parts = []
    for split, held in (composition.data or {}).items():
        composition.sampler(split)
        sizes = f"{len(held.classes)} classes, " if held.classes else ""
        images = f"{held.images:,} images, " if held.images is not None else ""
        parts.append(f"{split}: {sizes}{images}fingerprint {held.fingerprint[:8]}")
    task = composition.config.keys.task
    notices = list(composition.dataset.notices(way=task.way, shot=task.shot, query=task.query))
    return ("note" if notices else "ok", "; ".join([*parts, *notices]))


def _meta_gradient(composition: Composition) -> Found:
    """Compares the meta-gradient of one network on two tasks with differences of its meta-loss."""
    learner, problem = composition.learner, composition.problem
    if not is_derivative(learner):
        name = option_of("meta_learner", learner)
        return "note", f"not compared: {name}, as composed, does not follow the derivative"
    state = problem.initial_state(_network(composition))
    batch = problem.train.batch(0, 2)
    if composition.device.type == "mps":  # it has no float64
        state, batch = state.to(torch.device("cpu")), type(batch)(*(part.cpu() for part in batch))
    error = gradient_error(learner, state, batch)
    text = f"within {error:.0e} of finite differences"
    return ("ok" if error < TOLERANCE else "wrong", text)


def _network(composition: Composition) -> Any:
    """The architecture that stands for all: the reference, or the one that adapts to every task."""
    return ADAPTIVE if composition.adaptive else composition.space.reference()


def _cost(composition: Composition) -> Found:
    """The time and memory of the run, from a few timed meta-iterations of one network."""
    keys, learner = composition.config.keys, composition.learner
    budget, problem = keys.budget, composition.problem
    training = problem.training(_network(composition), 10**9)
    iteration = statistics.median(times(training.step, composition.device, 0.0, STEPS))
    training.finish()
    tasks = problem.valid.batch(0, keys.task.meta_batch)[:3]
    answer = lambda: learner.predict(training.state, *tasks)  # noqa: E731
    judged = statistics.median(times(answer, composition.device, 0.0, STEPS)) / keys.task.meta_batch
    peak = f"{peak_mib(composition.device):,.0f} MiB"
    each = f"{1000 * iteration:.0f} ms a meta-iteration, {1000 * judged:.1f} ms a test task, {peak}"
    if not composition.evaluators.for_search.continues:
        return "ok", each
    trials = budget.trials + (budget.reference_trials if keys.tune else 0)
    search = trials * (budget.search_iterations * iteration + budget.valid_tasks * judged)
    full = trainings(rounds_of(budget))
    final = sum(full) * iteration + (len(full) * budget.final_tasks + 2 * budget.test_tasks) * judged
    relaxed = composition.strategy(lambda arch: True).relaxation is not None and composition.adaptive is None
    besides = " besides the relaxed network" if relaxed else ""
    return (
        "ok",
        f"about {duration(search)} of search{besides} and {duration(final)} of final trainings; {each}",
    )
