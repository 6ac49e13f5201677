"""What int8 costs: the accuracy of an exported file on meta-test tasks, run by its own runtime."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasmeta.datasets.decode import Preprocessing
from nasmeta.meta_learners.task_head import TaskHead
from nasmeta.networks.task_network import TaskNetwork
from nasmeta.trained.checkpoint import TRAIN, dataset
from nasmeta.trained.export.format import Session
from nasmeta.trained.meta_test import MetaTest
from nasmeta.training.problem import episodes
from nasmeta.training.score import TASKS_AT_ONCE, ci95

TASKS, TASKS_CONVERTED = 100, 10
"""Tasks to check on; the second if each needs a file of its own, because the network's body adapts."""

IMAGES = 200
"""Training images that the ranges of activations are taken from."""

Converted = Callable[[TaskNetwork, Tensor], Session]
"""Makes the int8 file of a task's network, and what runs it; the pixels are the task's examples."""


@dataclass(frozen=True)
class Accuracies:
    """The accuracies [tasks] of the network and of its file in int8, on the same tasks."""

    full: Tensor
    int8: Tensor
    way: int
    shot: int

    @property
    def loss(self) -> float:
        """How many points the file is worse."""
        return 100 * float((self.full - self.int8).mean())

    def __str__(self) -> str:
        full, int8 = (f"{100 * float(v.mean()):.1f} ± {100 * ci95(v):.1f} %" for v in (self.full, self.int8))
        lost = self.int8 - self.full
        difference = f"{100 * float(lost.mean()):+.1f} ± {100 * ci95(lost):.1f} points"
        tasks = f"{len(self.full)} meta-test tasks, {self.way}-way {self.shot}-shot"
        return f"float {full}, int8 {int8}, difference {difference} ({tasks})"


def training_images(test: MetaTest, preprocessing: Preprocessing) -> Tensor:
    """Pixels [n, C, H, W] of images that the network was meta-trained on. Raises a UserError without them."""
    data = dataset(test.stored, test.config, TRAIN)
    cpu, seed = torch.device("cpu"), test.config.keys.seed
    batch = episodes(test.config, data, test.learner, "train", cpu, seed).unaugmented.batch(0, TASKS_AT_ONCE)
    images = batch.query_x.flatten(0, 1)
    return preprocessing.pixels(images[:: max(1, len(images) // IMAGES)][:IMAGES])


def accuracies_with_one_body(
    test: MetaTest, preprocessing: Preprocessing, body: nn.Module, session: Session
) -> Accuracies:
    """The accuracies on the meta-test tasks if the tasks differ in the heads of a TaskHead alone.

    body: the embedding network. session: what runs its file.
    """
    learner = test.learner
    assert isinstance(learner, TaskHead), "others have no body of all tasks"

    def logits(support: Tensor, labels: Tensor, queries: Tensor) -> Iterator[Tensor]:
        images, shots = torch.cat([support, queries]), len(support)
        for embedded in (body(images), torch.from_numpy(session(preprocessing.pixels(images))[-1])):
            examples, others = embedded[None, :shots], embedded[None, shots:]
            yield learner.answers(test.state, examples, labels[None], others, test.config.keys.task.way)[0]

    return _accuracies(test, TASKS, logits)


def accuracies_file_by_file(test: MetaTest, preprocessing: Preprocessing, converted: Converted) -> Accuracies:
    """The accuracies on the meta-test tasks if the body changes with the task, so that each needs a file."""

    def logits(support: Tensor, labels: Tensor, queries: Tensor) -> Iterator[Tensor]:
        network = test.learner.adapt(test.state, support, labels)
        session = converted(network, preprocessing.pixels(support))
        yield network(queries)
        yield torch.from_numpy(session(preprocessing.pixels(queries))[0])

    return _accuracies(test, TASKS_CONVERTED, logits)


def _accuracies(
    test: MetaTest, most: int, logits: Callable[[Tensor, Tensor, Tensor], Iterable[Tensor]]
) -> Accuracies:
    """The accuracies on at most `most` meta-test tasks.

    logits: takes support_x, support_y and query_x of a task; gives the outputs [M, classes] of the network
    and of its file. Those of the file may be probabilities.
    """
    keys = test.config.keys
    right = [
        torch.stack([(each.argmax(-1) == query_y).double().mean() for each in logits(*task)])
        for *task, query_y in _tasks(test, min(keys.budget.test_tasks, most))
    ]
    full, int8 = torch.stack(right, dim=1)
    return Accuracies(full, int8, keys.task.way, keys.task.shot)


def _tasks(test: MetaTest, tasks: int) -> Iterator[tuple[Tensor, ...]]:
    """support_x, support_y, query_x, query_y of each task."""
    sampler = test.sampler()
    for start in range(0, tasks, TASKS_AT_ONCE):
        batch = sampler.batch(start // TASKS_AT_ONCE, TASKS_AT_ONCE)
        yield from list(zip(*batch[:4], strict=True))[: tasks - start]
