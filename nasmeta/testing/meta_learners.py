"""What every meta-learner must do, whatever its algorithm, and the small tasks that test it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nasmeta import seeding
from nasmeta.datasets.base import EpisodeSampler
from nasmeta.errors import ConfigError
from nasmeta.meta_learners.base import MetaLearner, adopt_population
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.execution import Execution
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.task import TaskBatch, TaskSpec
from nasmeta.testing.recording import simulated_graphs
from nasmeta.training.cuda_graphs import recorded_predict
from nasmeta.training.meta_training import MetaTraining
from nasmeta.training.optimizers import OuterOptimizer
from nasmeta.training.score import score

WAY, SHOT, QUERY = 5, 1, 5
CLASSES, SIZE = 40, 16
TASK = TaskSpec("classification", (1, SIZE, SIZE), WAY, CLASSES)


class BlobSampler(EpisodeSampler):
    """Images of one small blob under large waves; only the blob's position decides the class.

    The waves of each image run in a random direction. An untrained network sees little else, and a trained
    one has learned to ignore them. Images are channels_last in memory.

    classes: how many classes there are to draw from. way: classes of an episode.
    shot, query: support and query images for each class. waves: the amplitude of the waves (a blob has 3).
    """

    def __init__(
        self,
        name: str,
        *,
        classes: int = CLASSES,
        way: int = WAY,
        shot: int = SHOT,
        query: int = QUERY,
        waves: float = 0.7,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.name, self.way, self.shot, self.query = name, way, shot, query
        self.waves, self.device, self.dtype = waves, device, dtype
        self.centres = seeding.stream(0, "blobs", name).uniform(2, SIZE - 2, (classes, 2))

    def batch(self, iteration: int, tasks: int) -> TaskBatch:
        rng = seeding.stream(0, "blobs", self.name, iteration)
        classes = np.stack([rng.permutation(len(self.centres))[: self.way] for _ in range(tasks)])
        support_y, query_y = (
            torch.arange(self.way).repeat_interleave(count).repeat(tasks, 1)
            for count in (self.shot, self.query)
        )
        return TaskBatch(
            self._images(rng, classes.repeat(self.shot, 1)),
            support_y.to(self.device),
            self._images(rng, classes.repeat(self.query, 1)),
            query_y.to(self.device),
            torch.from_numpy(classes).to(self.device),
        )

    def _images(self, rng: np.random.Generator, classes: NDArray[np.int64]) -> Tensor:
        """[T, N] classes -> [T, N, 1, SIZE, SIZE]: for each, its blob under new random waves."""
        axis = np.arange(SIZE)
        centre = self.centres[classes][..., None, None]  # [T, N, 2, 1, 1]
        blob = np.exp(-((axis[:, None] - centre[..., 0, :, :]) ** 2 + (axis - centre[..., 1, :, :]) ** 2) / 2)
        angle, phase, length = rng.uniform([0, 0, 8], [np.pi, 2 * np.pi, 16], (*classes.shape, 3)).T[
            ..., None, None
        ]
        along = np.cos(angle) * axis[:, None] + np.sin(angle) * axis
        waves = np.sin(2 * np.pi * along / length + phase).swapaxes(0, 1)
        images = torch.from_numpy(3 * blob + self.waves * waves).to(self.device, self.dtype)
        # The channel moves to the front in shape, but not in memory.
        return images.unsqueeze(-1).permute(0, 1, 4, 2, 3)


def conv_network(
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    *,
    width: int = 8,
    outputs: int = WAY,
    name: str = "network",
) -> FewShotNetwork:
    """A smooth network for 1 x SIZE x SIZE images: two blocks of convolution, norm, GELU, average pooling.

    Its weights are drawn from the stream `name`.
    """
    with seeding.torch_stream(0, "testing", name):
        layers: list[nn.Module] = []
        for channels in (1, width):
            layers += [nn.Conv2d(channels, width, 3, padding=1), norm(width), nn.GELU(), nn.AvgPool2d(2)]
        body = nn.Sequential(*layers, nn.Flatten())
        return FewShotNetwork(body, nn.Linear(width * (SIZE // 4) ** 2, outputs))


def pooled_network(width: int = 8) -> FewShotNetwork:
    """A network with all kinds of norms and convolutions.

    It has a norm that is fused with a 2x2 max-pooling, a strided grouped convolution, and a norm of vectors.
    """
    with seeding.torch_stream(0, "testing", "pooled"):
        layers = [
            *(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, stride=2, groups=2), nn.BatchNorm2d(width), nn.Flatten()),
            *(nn.Linear(9 * width, width), nn.BatchNorm1d(width), nn.ReLU()),
        ]
        return FewShotNetwork(nn.Sequential(*layers), nn.Linear(width, WAY))


def init(learner: MetaLearner, module: nn.Module, task: TaskSpec = TASK) -> MetaState:
    """learner.init with the learner's own draws from a fixed stream, so that all calls give the same."""
    with seeding.torch_stream(0, "testing", "init"):
        return learner.init(module, task)


def train(
    learner: MetaLearner,
    state: MetaState,
    sampler: EpisodeSampler,
    optimizer: OuterOptimizer,
    iterations: int,
) -> None:
    """Meta-trains to the end with four tasks per iteration, and computes the population statistics."""
    training = MetaTraining(learner, state, sampler, optimizer, iterations=iterations, meta_batch=4)
    while not training.done:
        training.step()
    training.read()
    training.finish()


def learning(
    learner: MetaLearner, optimizer: OuterOptimizer, *, iterations: int = 40, tasks: int = 10
) -> tuple[float, float]:
    """The accuracy on unseen blobs, before and after meta-training."""
    valid = BlobSampler("valid")
    train_sampler = training_sampler(learner)
    state = init(learner, conv_network(width=16))
    adopt_population(learner, state, [train_sampler.batch(iterations, 4)])
    untrained = score(learner, state, valid, tasks)
    state = init(learner, conv_network(width=16))
    train(learner, state, train_sampler, optimizer, iterations)
    trained = score(learner, state, valid, tasks)
    assert untrained.accuracy is not None
    assert trained.accuracy is not None
    return untrained.accuracy, trained.accuracy


def training_sampler(learner: MetaLearner, device: str = "cpu") -> BlobSampler:
    """Training episodes with as many classes as the learner wants."""
    return BlobSampler("train", way=learner.train_way or WAY, device=device)


class MetaLearnerContract:
    """Tests that every meta-learner must pass.

    Subclass it with three fixtures: `make` (BatchNormPolicy -> MetaLearner), `policy`, and `optimizer`.
    """

    @pytest.fixture
    def learner(self, make: Callable[[BatchNormPolicy], MetaLearner], policy: BatchNormPolicy) -> MetaLearner:
        return make(policy)

    def test_a_gradient_for_every_parameter(self, learner: MetaLearner) -> None:
        state = init(learner, conv_network())
        gradients, metrics = learner.meta_gradient(state, training_sampler(learner).batch(0, 2), 0)
        assert set(gradients) == set(state.parameters)
        for name, gradient in gradients.items():
            assert gradient.shape == state.parameters[name].shape, name
            assert gradient.stride() == state.parameters[name].stride(), name
            assert not gradient.requires_grad, name
            assert torch.isfinite(gradient).all(), name
        assert set(metrics) == {"loss", "accuracy"}
        assert all(m.shape == () and not m.requires_grad for m in metrics.values())
        assert 0.0 <= float(metrics["accuracy"]) <= 1.0

    def test_prediction_shape(self, learner: MetaLearner) -> None:
        state = init(learner, conv_network())
        adopt_population(learner, state, [training_sampler(learner).batch(0, 2)])
        logits = learner.predict(state, *BlobSampler("valid").batch(0, 3)[:3])
        assert logits.shape == (3, WAY * QUERY, WAY)
        assert not logits.requires_grad

    def test_a_solution_answers_as_predictions_do_and_each_query_by_itself(
        self, learner: MetaLearner, policy: BatchNormPolicy
    ) -> None:
        """Tried after some training, on a network with all kinds of layers; classes differ in size."""
        state = init(learner, pooled_network())
        sampler = training_sampler(learner)
        for i in range(2):
            gradients, _ = learner.meta_gradient(state, sampler.batch(i, 2), i)
            with torch.no_grad():
                for name, gradient in gradients.items():
                    state.parameters[name] -= 0.05 * gradient
        adopt_population(learner, state, [sampler.batch(2, 4)])
        support_x, support_y, query_x = (part[:, 1:] for part in BlobSampler("valid", shot=2).batch(0, 1)[:3])
        if policy.depends_on_companions:
            with pytest.raises(ConfigError, match="batch_norm: transductive"):
                learner.adapt(state, support_x[0], support_y[0])
            return
        expected = learner.predict(state, support_x, support_y, query_x)[0]
        solution = learner.adapt(state, support_x[0], support_y[0])
        outputs = solution(query_x[0])
        assert torch.allclose(outputs, expected, rtol=1e-4, atol=1e-4)
        assert torch.allclose(solution(query_x[0, :1]), outputs[:1], rtol=1e-4, atol=1e-4)
        assert outputs.std(0).min() > 1e-3, "the queries differ, and so must the answers"
        types = {type(layer).__module__.split(".")[0] for layer in solution.body.modules()}
        assert types == {"torch"}
        assert not any(layer.training for layer in solution.modules())

    def test_same_twice(
        self, make: Callable[[BatchNormPolicy], MetaLearner], policy: BatchNormPolicy
    ) -> None:
        results = []
        for _ in range(2):
            learner = make(policy)
            state = init(learner, conv_network())
            batch = training_sampler(learner).batch(0, 2)
            gradients, _ = learner.meta_gradient(state, batch, 0)
            adopt_population(learner, state, [batch])
            logits = learner.predict(state, *BlobSampler("valid").batch(0, 2)[:3])
            results.append([*gradients.values(), logits])
        assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))

    def test_neither_gradient_nor_prediction_changes_the_state(self, learner: MetaLearner) -> None:
        state = init(learner, conv_network())
        before = {name: p.detach().clone() for name, p in state.parameters.items()}
        batch = training_sampler(learner).batch(0, 2)
        learner.meta_gradient(state, batch, 0)
        adopt_population(learner, state, [batch])
        learner.predict(state, *BlobSampler("valid").batch(0, 2)[:3])
        for name, parameter in state.parameters.items():
            assert torch.equal(parameter, before[name]), name
            assert parameter.grad is None, name
            assert parameter.is_leaf, name
            assert parameter.requires_grad, name

    def test_a_meta_step_changes_the_network(self, learner: MetaLearner, optimizer: OuterOptimizer) -> None:
        state = init(learner, conv_network())
        before = {name: p.detach().clone() for name, p in state.network_parameters.items()}
        MetaTraining(learner, state, training_sampler(learner), optimizer, iterations=10, meta_batch=2).step()
        changed = [name for name, p in state.network_parameters.items() if not torch.equal(p, before[name])]
        # A convolution's bias before a batch norm has no gradient, and a learner need not change the head.
        assert {"body.0.weight", "body.1.weight", "body.1.bias", "body.4.weight"} <= set(changed)

    def test_never_waits_for_the_device(self, learner: MetaLearner, optimizer: OuterOptimizer) -> None:
        """The meta device has no values, so code that reads one raises."""
        for task_parallel in ("loop", "vmap"):
            state = init(learner, conv_network().to("meta"))
            state.network.execution = Execution(task_parallel)
            sampler = training_sampler(learner, device="meta")
            MetaTraining(learner, state, sampler, optimizer, iterations=10, meta_batch=2).step()
            adopt_population(learner, state, [sampler.batch(10, 2)])
            logits = learner.predict(state, *BlobSampler("valid", device="meta").batch(0, 2)[:3])
            assert logits.shape == (2, WAY * QUERY, WAY)
            assert logits.is_meta

    def test_recorded_steps_and_predictions_are_launched_ones(
        self, learner: MetaLearner, optimizer: OuterOptimizer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A CUDA graph, here a simulated one, repeats operations with the numbers and choices they had.

        A learner that reads values on the host must say so: a warning tells that recording failed.
        """
        results = []
        for recorded in (True, False):
            state = init(learner, conv_network())
            state.network.execution = Execution("vmap", cuda_graphs=recorded)
            sampler = training_sampler(learner)
            with simulated_graphs():
                training = MetaTraining(learner, state, sampler, optimizer, iterations=5, meta_batch=2)
                for _ in range(5):
                    training.step()
                training.finish()
                predict = recorded_predict(learner, state)
                valid = [BlobSampler("valid").batch(i, 2)[:3] for i in range(3)]
                logits = [predict(tasks).clone() for tasks in valid]
            loss = torch.tensor(training.read().loss)
            results.append([loss, *(p.detach() for p in state.parameters.values()), *logits])
        assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
        assert "recording failed" not in caplog.text

    def test_convolutions_see_channels_last(self, learner: MetaLearner) -> None:
        """Checks strides: with one channel, is_contiguous accepts either layout, but convolutions do not."""
        module = conv_network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        seen: list[tuple[int, ...]] = []

        def spy(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0]
            _, channels, _, width = x.shape
            assert x.stride()[1:] == (1, width * channels, channels), (layer, x.shape, x.stride())
            seen.append(x.stride())

        state = init(learner, module)
        for layer in state.network.module.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_pre_hook(spy)
        batch = training_sampler(learner).batch(0, 2)
        learner.meta_gradient(state, batch, 0)
        trained = len(seen)
        adopt_population(learner, state, [batch])
        learner.predict(state, *BlobSampler("valid").batch(0, 2)[:3])
        assert 0 < trained < len(seen)


class LearningContract:
    """Tests that a meta-learner learns, in seconds.

    Subclass it with two fixtures: `make` (BatchNormPolicy -> MetaLearner) and `optimizer`.
    """

    def test_learns(self, make: Callable[[BatchNormPolicy], MetaLearner], optimizer: OuterOptimizer) -> None:
        """On blobs in new places, an untrained network gets about half of the queries right (chance: 0.2)."""
        untrained, trained = learning(make(BatchNormPolicy.SUPPORT), optimizer)
        assert trained > 0.7, f"{untrained:.3f} -> {trained:.3f}"
        assert trained > untrained + 0.1, f"{untrained:.3f} -> {trained:.3f}"
