"""Proxies against closed forms and brute force, and a whole run on them."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from torch import Tensor, nn

from nasmeta import seeding
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import ConfigError
from nasmeta.evaluators.zero_cost.embedding import embedding
from nasmeta.evaluators.zero_cost.evaluator import ZeroCost
from nasmeta.evaluators.zero_cost.grad_norm import grad_norm
from nasmeta.evaluators.zero_cost.jacob_cov import EPSILON, correlation_score, jacob_cov
from nasmeta.evaluators.zero_cost.naswot import hamming_kernel, log_determinant, naswot
from nasmeta.evaluators.zero_cost.proxies import PROXIES, Name
from nasmeta.evaluators.zero_cost.snip import snip
from nasmeta.evaluators.zero_cost.synflow import synflow
from nasmeta.evaluators.zero_cost.untrained import Untrained
from nasmeta.evaluators.zero_cost.vote import rank, vote
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.maml import Maml
from nasmeta.meta_learners.protonet import ProtoNet
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.run.composition import Composition
from nasmeta.search_spaces.conv import network
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.task import TaskBatch, TaskSpec
from nasmeta.trial import Cost
from tests.cli.runs import search
from tests.meta_learners import quadratic

RNG = np.random.default_rng(0)


def protonet(policy: str = "transductive") -> ProtoNet:
    return ProtoNet(
        distance="euclidean", learn_temperature=False, train_way=None, batch_norm=BatchNormPolicy(policy)
    )


def maml(steps: int, second_order: bool = True) -> Maml:
    return Maml(
        inner_lr=0.1,
        train_steps=steps,
        test_steps=steps,
        second_order=second_order,
        adapted_part="all",
        multi_step_iterations=0,
        learn_inner_lr=False,
        batch_norm=BatchNormPolicy.TRANSDUCTIVE,
    )


def untrained(
    body: nn.Module,
    head: nn.Linear,
    *batches: TaskBatch,
    shape: tuple[int, ...],
    learner: MetaLearner | None = None,
) -> Untrained:
    learner = learner or protonet()
    task = TaskSpec("classification", shape, head.out_features)
    state = learner.init(FewShotNetwork(body, head), task)
    return Untrained(learner, state, lambda: iter(batches), Cost(7, 11))


def episode(*shape: int, way: int = 3, query: int = 4, tasks: int = 1) -> TaskBatch:
    """Random examples of shape `shape`, one shot."""

    def draw(count: int) -> tuple[Tensor, Tensor]:
        x = torch.from_numpy(RNG.normal(size=(tasks, way * count, *shape))).float()
        return x, torch.arange(way).repeat_interleave(count).expand(tasks, -1)

    return TaskBatch(*draw(1), *draw(query), torch.arange(way).expand(tasks, way))


# synflow -----------------------------------------------------------------------------------------------


@given(widths=st.lists(st.integers(1, 5), min_size=2, max_size=5))
def test_synflow_of_a_linear_network_is_its_layers_times_its_paths(widths: list[int]) -> None:
    """Without biases R = 1'|W_L|...|W_1|1, and each layer's theta * dR/dtheta sums to R."""
    layers = [nn.Linear(a, b, bias=False) for a, b in pairwise([3, *widths])]
    net = untrained(nn.Sequential(*layers[:-1]), layers[-1], shape=(3,))
    paths = torch.ones(3, dtype=torch.float64)
    for layer in layers:
        paths = layer.weight.detach().double().abs() @ paths
    assert synflow(net) == pytest.approx(len(layers) * float(paths.sum()))


def test_synflow_leaves_norms_and_relu_out_and_counts_biases_as_flow_only() -> None:
    body = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.BatchNorm1d(2), nn.ReLU(), nn.LayerNorm(2))
    head = nn.Linear(2, 1)
    with torch.no_grad():
        body[1].weight.fill_(-2.0)
        body[1].bias.fill_(-1.0)
        head.weight.fill_(3.0)
        head.bias.fill_(5.0)
    # Hidden: 4 * 2 + 1 = 9 each. First layer's share: 2 * 3 * 8; head's: 2 * 3 * 9; its bias is no weight.
    assert synflow(untrained(body, head, shape=(1, 2, 2))) == 2 * 3 * 8 + 2 * 3 * 9


def test_a_network_without_a_path_has_no_flow() -> None:
    body = nn.Linear(3, 2, bias=False)
    nn.init.zeros_(body.weight)
    assert synflow(untrained(body, nn.Linear(2, 2), shape=(3,))) == 0


# Gradients ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("second_order", [True, False])
def test_grad_norm_and_snip_of_a_parabola(steps: int, second_order: bool) -> None:
    """Maml's gradient there is b * c^(2K) * w, first-order b * c^K * w (tests/meta_learners/quadratic.py)."""
    a, w = 2.0, -1.5
    learner = maml(steps, second_order)
    state = quadratic.state(learner, w)
    batches = [quadratic.batch(a, b) for b in (3.0, 5.0)]
    net = Untrained(learner, state, lambda: iter(batches), Cost(1, 1))
    c = 1 - learner.inner_lr * a
    gradient = 4.0 * c ** (steps * (1 + second_order)) * w  # of the mean over batches of b = 3, 5
    assert grad_norm(net) == pytest.approx(abs(gradient))
    assert snip(net) == pytest.approx(abs(w * gradient))


def test_grad_norm_adds_the_layers_norms_and_snip_the_connections() -> None:
    batch = episode(6, tasks=2)
    net = untrained(
        nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)), nn.Linear(4, 3), batch, shape=(6,)
    )
    gradients, _ = net.learner.meta_gradient(net.state, batch, 0)
    names = ("body.0.weight", "body.2.weight")
    norms = [math.sqrt(sum(v * v for v in gradients[n].flatten().tolist())) for n in names]
    assert grad_norm(net) == pytest.approx(sum(norms), rel=1e-5)
    products = [
        abs(w * g)
        for n in names
        for w, g in zip(
            net.state.parameters[n].flatten().tolist(), gradients[n].flatten().tolist(), strict=True
        )
    ]
    assert snip(net) == pytest.approx(sum(products), rel=1e-5)


# Jacobians and codes -----------------------------------------------------------------------------------


def test_jacobian_covariance_against_the_correlations_written_out() -> None:
    jacobian = torch.from_numpy(RNG.normal(size=(5, 9)))
    centred = [[v - sum(row) / 9 for v in row] for row in jacobian.tolist()]
    norms = [math.sqrt(sum(v * v for v in row)) for row in centred]
    correlation = [
        [sum(p * q for p, q in zip(x, y, strict=True)) / (n * m) for y, m in zip(centred, norms, strict=True)]
        for x, n in zip(centred, norms, strict=True)
    ]
    values = np.linalg.eigvals(np.array(correlation)).real
    expected = -sum(math.log(v + EPSILON) + 1 / (v + EPSILON) for v in values)
    assert correlation_score(jacobian) == pytest.approx(expected)


def test_uncorrelated_jacobians_score_best_and_equal_ones_worst() -> None:
    walsh = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
    assert correlation_score(walsh) == pytest.approx(-3, abs=1e-4)
    assert correlation_score(torch.randn(1, 4, generator=torch.Generator()).expand(3, 4)) < -1e5
    assert math.isnan(correlation_score(torch.zeros(3, 4)))


def test_the_jacobian_is_that_of_the_outputs_sum() -> None:
    """Of a linear network every row is the same, 1'W: the worst score; tanh tells inputs apart."""
    torch.manual_seed(0)
    linear = untrained(nn.Linear(40, 4), nn.Linear(4, 3), episode(40), shape=(40,))
    body = nn.Sequential(nn.Linear(40, 60), nn.Tanh())
    curved = untrained(body, nn.Linear(60, 3), episode(40), shape=(40,))
    assert jacob_cov(linear) < -1e5 < jacob_cov(curved) <= -15


@given(codes=st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=6))
def test_the_kernel_counts_the_units_in_which_codes_agree(codes: list[list[bool]]) -> None:
    kernel = hamming_kernel(torch.tensor(codes))
    assert kernel.tolist() == [[sum(a == b for a, b in zip(c, d, strict=True)) for d in codes] for c in codes]


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh])
def test_naswot_by_hand(activation: Any) -> None:
    """Identity layers: the code of x is its signs, here in two layers, at 3 + 3 units."""
    body = nn.Sequential(activation(), nn.Linear(3, 3, bias=False), activation())
    with torch.no_grad():
        body[1].weight.copy_(torch.eye(3))
    signs = 0.2 * torch.tensor([[1.0, 1, 1], [1, -1, 1], [-1, -1, 1], [-1, -1, -1]])
    labels = torch.arange(2).expand(1, 2)
    batch = TaskBatch(signs[None, :2], labels, signs[None, 2:], labels, labels)
    first = [[bool(v > 0) for v in x] for x in signs]
    second = [[bool(v > 0) for v in activation()(x)] for x in signs]
    codes = [[*p, *q] for p, q in zip(first, second, strict=True)]
    kernel = [[sum(a == b for a, b in zip(c, d, strict=True)) for d in codes] for c in codes]
    expected = math.log(abs(np.linalg.det(np.array(kernel))))
    assert naswot(untrained(body, nn.Linear(3, 2), batch, shape=(3,))) == pytest.approx(expected)


def test_naswot_of_equal_codes_and_of_no_code() -> None:
    same = episode(4)._replace(query_x=torch.ones(1, 12, 4))
    assert naswot(untrained(nn.ReLU(), nn.Linear(4, 3), same, shape=(4,))) == -math.inf
    assert math.isnan(naswot(untrained(nn.Identity(), nn.Linear(4, 3), same, shape=(4,))))


@given(seed=st.integers(0, 999), inputs=st.integers(2, 40), units=st.integers(1, 500))
def test_a_kernel_is_singular_exactly_if_the_inputs_are_not_told_apart(
    seed: int, inputs: int, units: int
) -> None:
    codes = torch.from_numpy(np.random.default_rng(seed).random((inputs, units)) < 0.5)
    kernel = hamming_kernel(codes).double()
    if np.linalg.matrix_rank(kernel.numpy(), hermitian=True) == inputs:
        assert log_determinant(kernel) == pytest.approx(np.linalg.slogdet(kernel.numpy()).logabsdet)
    else:
        assert log_determinant(kernel) == -math.inf
    twice = torch.cat([codes, codes[:1]])
    assert log_determinant(hamming_kernel(twice).double()) == -math.inf


def test_naswot_is_the_mean_over_tasks() -> None:
    batch = episode(40, tasks=2)
    body, head = nn.Sequential(nn.Linear(40, 60), nn.ReLU()), nn.Linear(60, 3)
    both = naswot(untrained(body, head, batch, shape=(40,)))
    each = [
        naswot(untrained(body, head, TaskBatch(*(part[i : i + 1] for part in batch)), shape=(40,)))
        for i in (0, 1)
    ]
    assert each[0] != each[1]
    assert both == pytest.approx(sum(each) / 2)


@pytest.mark.parametrize("name", ["ReLU6", "LeakyReLU", "PReLU", "ELU", "SELU", "CELU", "Mish", "Hardswish"])
def test_naswot_knows_other_activations(name: str) -> None:
    net = untrained(
        nn.Sequential(nn.Linear(40, 60), getattr(nn, name)()), nn.Linear(60, 3), episode(40), shape=(40,)
    )
    assert math.isfinite(naswot(net))


# The same function, computed otherwise -----------------------------------------------------------------

REWRITTEN = [
    "search_space.widths=[8,16]",
    "search_space.max_blocks=3",
    "search_space.max_downsamples=3",
    "search_space.downsamples=[max]",
    "search_space.activations=[relu]",
    "dataset.size=16",
    "dataset.train_classes=10",
    "task.query=3",
    "task.meta_batch=1",
    "evaluator=zero_cost",
    "evaluator.batches=1",
    "evaluator.reference=4",
]


@pytest.mark.parametrize("learner", ["protonet", "fomaml"])
@pytest.mark.parametrize("policy", ["support", "transductive"])
def test_no_proxy_depends_on_the_order_of_activation_and_max_pooling(
    learner: str, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The papers rectify, then pool; our builder pools first, which is the same function."""

    def scores() -> dict[str, list[float]]:
        options = [*REWRITTEN, f"meta_learner={learner}", f"batch_norm={policy}"]
        whole = Composition.of(parse(composed(options), trusted=True))
        problem, rng = whole.problem, seeding.stream(0, "rewritten")
        archs = [whole.space.sample(rng) for _ in range(2)]
        first = next(child for child in whole.space.build(archs[0], whole.task).modules() if pools(child))
        assert isinstance(first, nn.MaxPool2d if network.MONOTONE else nn.ReLU)
        values = {
            name: [proxy(Untrained.of(problem, arch, 1)) for arch in archs] for name, proxy in PROXIES.items()
        }
        vote_of = replaced(whole, proxy="vote").evaluator(problem)
        assert isinstance(vote_of, ZeroCost)
        return {**values, "vote": [vote_of.score(arch) for arch in archs]}

    ours = scores()
    monkeypatch.setattr(network, "MONOTONE", set())
    papers = scores()
    assert ours.keys() == {*get_args(Name), "vote"}
    for name, values in ours.items():
        assert values == pytest.approx(papers[name], rel=1e-4), name


def pools(module: nn.Module) -> bool:
    return isinstance(module, nn.MaxPool2d | nn.ReLU)


def replaced(whole: Composition, **options: Any) -> Composition:
    """The same composition with other options of its evaluator."""
    groups = whole.config.groups
    evaluator = {**groups["evaluator"], **options}
    return replace(whole, config=replace(whole.config, groups={**groups, "evaluator": evaluator}))


class Rectified(nn.Module):
    """Two layers that read the rectified input: rectified once for both, or once for each."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self.left, self.right, self.shared = nn.Linear(8, 6), nn.Linear(8, 6), shared

    def forward(self, x: Tensor) -> Tensor:
        once = torch.relu(x)
        again = once if self.shared else torch.relu(x)
        y: Tensor = self.left(once) + self.right(again)
        return torch.relu(y)


@pytest.mark.parametrize("name", get_args(Name))
def test_no_proxy_depends_on_how_often_an_activation_is_computed(name: str) -> None:
    batch, scores = episode(8, tasks=2), []
    for shared in (True, False):
        torch.manual_seed(0)
        scores.append(PROXIES[name](untrained(Rectified(shared=shared), nn.Linear(6, 3), batch, shape=(8,))))
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


# Embeddings, size --------------------------------------------------------------------------------------


def test_the_embeddings_accuracy_is_that_of_nearest_prototypes_in_any_way() -> None:
    batch = episode(5, way=4, tasks=3)
    net = untrained(nn.Linear(5, 5), nn.Linear(5, 2), batch, shape=(5,))  # the run's way is 2
    body = net.state.network.module.body
    right = []
    for support, queries, labels in zip(batch.support_x, batch.query_x, batch.query_y, strict=True):
        centres, points = body(support).detach(), body(queries).detach()
        nearest = [min(range(4), key=lambda k: float((p - centres[k]).square().sum())) for p in points]
        right += [n == label for n, label in zip(nearest, labels.tolist(), strict=True)]
    assert embedding(net) == pytest.approx(sum(right) / len(right))
    assert net.state.task.outputs == 2, "the state is as it was"


def test_size() -> None:
    net = untrained(nn.Identity(), nn.Linear(2, 2), shape=(2,))
    assert (PROXIES["params"](net), PROXIES["flops"](net)) == (7, 11)


# The vote ----------------------------------------------------------------------------------------------


def test_an_architecture_of_the_sample_that_fails_is_beaten_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Composition.of(parse(composed(REWRITTEN), trusted=True))
    evaluator = replaced(whole, proxy="vote", reference=3, voters=["flops"]).evaluator(whole.problem)
    assert isinstance(evaluator, ZeroCost)
    made = iter([ValueError("a layer"), *[None] * 9])
    flops = PROXIES["flops"]

    def sometimes(net: Untrained) -> float:
        if error := next(made):
            raise error
        return flops(net)

    monkeypatch.setitem(PROXIES, "flops", sometimes)
    sample = evaluator._load_sample(lambda: False)
    assert [math.isnan(value) for (value,) in sample] == [True, False, False]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.integers(0, 5))
def test_ranks_are_those_of_scipy(sample: list[int], value: int) -> None:
    expected = (rankdata([*sample, value])[-1] - 1) / len(sample)
    assert rank(value, sample) == pytest.approx(expected)


def test_the_vote_is_the_mean_rank_and_blind_to_scale() -> None:
    sample = [[1.0, 10.0], [2.0, 30.0], [3.0, 20.0], [math.nan, 40.0]]
    assert vote([2.5, 25.0], sample) == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert vote([-math.inf, 50.0], sample) == pytest.approx((0.5 / 4 + 1) / 2)
    assert math.isnan(vote([math.nan, 1.0], sample))


# Runs --------------------------------------------------------------------------------------------------

PROXY = ["evaluator=zero_cost", "meta_learner=maml", "meta_learner.train_steps=1"]


def test_the_best_by_proxy_are_really_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "run"
    assert search(directory, *PROXY, "evaluator.proxy=params", "budget.trials=8", "progress=true") == 0
    records = [json.loads(line) for line in (directory / "journal.jsonl").read_text().splitlines()]
    searched = [r for r in records if r["event"] == "finished" and r["phase"] == "search"]
    assert all(r["proxy"] == r["params"] for r in searched)
    assert all(r["valid_accuracy"] is r["valid_loss"] is None for r in searched)
    finals = [r["arch"] for r in records if r["event"] == "finished" and r["phase"] == "final"]
    largest = sorted(searched, key=lambda r: -r["params"])
    assert finals == [r["arch"] for r in largest[:2]]
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["best"]["test_loss"] > 0
    assert summary["trained"] is True
    out, err = capsys.readouterr()
    assert f"proxy {largest[0]['params']:.4g}" in err
    assert "nasmeta evaluate" in out
    assert main_evaluate(directory, capsys) == summary["best"]["test_loss"]


def main_evaluate(directory: Path, capsys: pytest.CaptureFixture[str]) -> float:
    from nasmeta.cli.main import main

    assert main(["evaluate", str(directory), "--json"]) == 0
    loss: float = json.loads(capsys.readouterr().out)["loss"]
    return loss


def test_a_proxy_that_is_not_finite_is_a_failed_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nasmeta.evaluators.zero_cost import proxies

    values: Iterator[float] = iter([1.0, math.nan, math.inf, 2.0])
    monkeypatch.setitem(proxies.PROXIES, "snip", lambda net: next(values))
    assert search(tmp_path / "run", *PROXY, "evaluator.proxy=snip") == 0
    lines = (tmp_path / "run" / "journal.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    reasons = [r["reason"] for r in records if r["event"] == "finished" and r["phase"] == "search"]
    assert reasons == [None, "Diverged: snip is nan", "Diverged: snip is inf", None]


@pytest.mark.parametrize("options", [["proxy=embedding"], ["proxy=vote", "voters=[snip,embedding]"]])
def test_proxies_for_classification_refuse_regression(options: list[str]) -> None:
    values = ["dataset=sinusoid", "search_space=mlp", "meta_learner=maml", "evaluator=zero_cost"]
    with pytest.raises(ConfigError, match=r"evaluator\.proxy: embedding is for classification"):
        Composition.of(parse(composed([*values, *(f"evaluator.{o}" for o in options)]), trusted=True))
