"""The meta-training and meta-test loops of the peer libraries, as their own examples write them.

scripts/benchmark_peers runs this in the environment of the peers, so it imports nothing of nasmeta. It prints
one JSON line for the row that its argument (JSON) describes. All peers get the same networks and tensors;
images are random.

- learn2learn: examples/vision/maml_omniglot.py, protonet_miniimagenet.py, and reptile_miniimagenet.py
  (without its evaluation).
- higher: examples/maml-omniglot.py. First order follows the advice of its maintainers: the query gradient
  is taken at the adapted weights.
- TorchOpt: examples/MAML-RL, MetaSGD. It has no first-order mode.
"""

import contextlib
import copy
import importlib
import io
import json
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WAY, SHOT, QUERY, INNER_LR = 5, 1, 15, 0.4
WARM_UPS = 2
Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def conv4(width: int, ways: int | None, running: bool = False) -> nn.Sequential:
    """Four blocks of convolution, batch norm, ReLU and pooling, with a linear head unless `ways` is None."""
    layers: list[nn.Module] = []
    for channels in (1, width, width, width):
        layers += [
            nn.Conv2d(channels, width, 3, padding=1),
            nn.BatchNorm2d(width, track_running_stats=running),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    head = [] if ways is None else [nn.Linear(width, ways)]
    return nn.Sequential(*layers, nn.Flatten(), *head)


def tasks(count: int, device: str) -> Batch:
    """support_x, support_y, query_x, query_y of `count` tasks, on `device`."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(WAY)
    return (
        torch.randn(count, WAY * SHOT, 1, 28, 28, generator=generator).to(device),
        labels.repeat_interleave(SHOT).repeat(count, 1).to(device),
        torch.randn(count, WAY * QUERY, 1, 28, 28, generator=generator).to(device),
        labels.repeat_interleave(QUERY).repeat(count, 1).to(device),
    )


def load(name: str) -> Any:
    """Imports a peer. torchvision's compiled operators, imported but never called, may be missing."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            importlib.import_module("torchvision")
        except ImportError:
            pass
        except RuntimeError:
            for module in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
                del sys.modules[module]
            library = torch.library.Library("torchvision", "DEF")
            library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _kept.append(library)
        return importlib.import_module(name)


_kept: list[Any] = []


def learn2learn_maml(net: nn.Module, batch: Batch, steps: int, first_order: bool) -> Callable[[], None]:
    maml = load("learn2learn").algorithms.MAML(net, lr=INNER_LR, first_order=first_order)
    optimizer = torch.optim.Adam(maml.parameters(), 1e-3)

    def iteration() -> None:
        optimizer.zero_grad()
        for support_x, support_y, query_x, query_y in zip(*batch, strict=True):
            learner = maml.clone()
            for _ in range(steps):
                learner.adapt(F.cross_entropy(learner(support_x), support_y))
            F.cross_entropy(learner(query_x), query_y).backward()
        for parameter in maml.parameters():
            assert parameter.grad is not None
            parameter.grad.data.mul_(1.0 / len(batch[0]))
        optimizer.step()

    return iteration


def higher_maml(net: nn.Module, batch: Batch, steps: int, first_order: bool) -> Callable[[], None]:
    higher = load("higher")
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    inner = torch.optim.SGD(net.parameters(), lr=INNER_LR)

    def iteration() -> None:
        optimizer.zero_grad()
        if first_order:
            for parameter in net.parameters():
                parameter.grad = torch.zeros_like(parameter)
        for support_x, support_y, query_x, query_y in zip(*batch, strict=True):
            with higher.innerloop_ctx(
                net, inner, copy_initial_weights=False, track_higher_grads=not first_order
            ) as (functional, inner_steps):
                for _ in range(steps):
                    inner_steps.step(F.cross_entropy(functional(support_x), support_y))
                loss = F.cross_entropy(functional(query_x), query_y) / len(batch[0])
                if not first_order:
                    loss.backward()
                    continue
                gradients = torch.autograd.grad(loss, list(functional.parameters()))
                for parameter, gradient in zip(net.parameters(), gradients, strict=True):
                    assert parameter.grad is not None
                    parameter.grad.add_(gradient)
        optimizer.step()

    return iteration


def torchopt_maml(net: nn.Module, batch: Batch, steps: int, first_order: bool) -> Callable[[], None]:
    if first_order:
        raise NotImplementedError("MetaSGD always builds the second-order graph")
    torchopt = load("torchopt")
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    inner = torchopt.MetaSGD(net, lr=INNER_LR)

    def iteration() -> None:
        losses = []
        optimizer.zero_grad()
        net_state = torchopt.extract_state_dict(net, by="reference", detach_buffers=True)
        inner_state = torchopt.extract_state_dict(inner, by="reference")
        for support_x, support_y, query_x, query_y in zip(*batch, strict=True):
            for _ in range(steps):
                inner.step(F.cross_entropy(net(support_x), support_y))
            losses.append(F.cross_entropy(net(query_x), query_y))
            torchopt.recover_state_dict(net, net_state)
            torchopt.recover_state_dict(inner, inner_state)
        torch.stack(losses).mean().backward()
        optimizer.step()

    return iteration


def learn2learn_evaluation(net: nn.Module, batch: Batch, steps: int, first_order: bool) -> Callable[[], None]:
    """Meta-testing as in maml_omniglot.py, where the adaptation keeps its graph."""
    maml = load("learn2learn").algorithms.MAML(net, lr=INNER_LR, first_order=first_order)

    def iteration() -> None:
        for support_x, support_y, query_x, query_y in zip(*batch, strict=True):
            learner = maml.clone()
            for _ in range(steps):
                learner.adapt(F.cross_entropy(learner(support_x), support_y))
            predictions = learner(query_x)
            F.cross_entropy(predictions, query_y)
            (predictions.argmax(1) == query_y).float().mean()

    return iteration


def higher_evaluation(net: nn.Module, batch: Batch, steps: int, first_order: bool) -> Callable[[], None]:
    higher = load("higher")
    inner = torch.optim.SGD(net.parameters(), lr=INNER_LR)

    def iteration() -> None:
        for support_x, support_y, query_x, query_y in zip(*batch, strict=True):
            with higher.innerloop_ctx(net, inner, track_higher_grads=False) as (functional, inner_steps):
                for _ in range(steps):
                    inner_steps.step(F.cross_entropy(functional(support_x), support_y))
                predictions = functional(query_x).detach()
                F.cross_entropy(predictions, query_y)
                (predictions.argmax(1) == query_y).float().mean()

    return iteration


def reptile(net: nn.Module, batch: Batch, steps: int, adam: bool) -> Callable[[], None]:
    """Reptile with `steps` minibatches of 10 out of the 75 images of a task.

    The state of the inner Adam is passed from task to task.
    """
    data, labels = batch[2:]
    optimizer = torch.optim.SGD(net.parameters(), 1.0)
    state = [torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.0, 0.999)).state_dict()]

    def iteration() -> None:
        optimizer.zero_grad()
        for parameter in net.parameters():
            parameter.grad = torch.zeros_like(parameter.data)
        for x, y in zip(data, labels, strict=True):
            learner = copy.deepcopy(net)
            if adam:
                inner: torch.optim.Optimizer = torch.optim.Adam(
                    learner.parameters(), lr=1e-3, betas=(0.0, 0.999)
                )
                inner.load_state_dict(state[0])
            else:
                inner = torch.optim.SGD(learner.parameters(), lr=0.1)
            for _ in range(steps):
                drawn = torch.randint(x.size(0), size=(10,), device=x.device)
                inner.zero_grad()
                F.cross_entropy(learner(x[drawn]), y[drawn]).backward()
                inner.step()
            if adam:
                state[0] = inner.state_dict()
            for parameter, end in zip(net.parameters(), learner.parameters(), strict=True):
                assert parameter.grad is not None
                parameter.grad.data.add_(end.data, alpha=-1.0)
        for parameter in net.parameters():
            assert parameter.grad is not None
            parameter.grad.data.mul_(1.0 / len(data)).add_(parameter.data)
        optimizer.step()

    return iteration


def protonet(net: nn.Module, batch: Batch) -> Callable[[], None]:
    """ProtoNet with an Adam step for each episode; support and queries are embedded together.

    This follows learn2learn's example.
    """
    load("learn2learn")
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    count = len(batch[0])
    images = torch.cat(
        [batch[0].view(count, WAY, SHOT, 1, 28, 28), batch[2].view(count, WAY, QUERY, 1, 28, 28)], 2
    ).flatten(1, 2)
    first = [i % (SHOT + QUERY) < SHOT for i in range(WAY * (SHOT + QUERY))]
    is_support = torch.tensor(first, device=images.device)

    def iteration() -> None:
        for x, query_y in zip(images, batch[3], strict=True):
            embeddings = net(x)
            centres = embeddings[is_support].reshape(WAY, SHOT, -1).mean(1)
            distances = (embeddings[~is_support].unsqueeze(1) - centres.unsqueeze(0)).square().sum(2)
            optimizer.zero_grad()
            F.cross_entropy(-distances, query_y).backward()
            optimizer.step()

    return iteration


def job(row: dict[str, Any]) -> Callable[[], None]:
    torch.manual_seed(0)
    batch = tasks(row["tasks"], row["device"])
    peer, algorithm, width, steps = row["who"], row["algorithm"], row["width"], row["steps"]
    if algorithm == "protonet":
        return protonet(conv4(width, None, running=True).to(row["device"]), batch)
    net = conv4(width, WAY).to(row["device"])
    if algorithm == "reptile":
        return reptile(net, batch, steps, adam=peer == "learn2learn")
    loops = {
        ("learn2learn", "evaluation"): learn2learn_evaluation,
        ("higher", "evaluation"): higher_evaluation,
        ("learn2learn", "maml"): learn2learn_maml,
        ("higher", "maml"): higher_maml,
        ("torchopt", "maml"): torchopt_maml,
    }
    return loops[peer, algorithm](net, batch, steps, row["order"] == 1)


def measured(iteration: Callable[[], object], row: dict[str, Any]) -> dict[str, Any]:
    """`row` with tasks per second and peak memory in MiB added.

    The speed is the median over repeats of one meta-iteration. The memory is that of the process, or the
    allocated memory of the GPU.
    """
    gpu = row["device"] == "cuda"
    wait: Callable[[], None] = torch.cuda.synchronize if gpu else lambda: None
    times: list[float] = []
    for _ in range(WARM_UPS):
        iteration()
    while len(times) < row["repeats"] or sum(times) < row["seconds"]:
        wait()
        start = time.perf_counter()
        iteration()
        wait()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if gpu:
        peak = torch.cuda.max_memory_allocated() / 2**20
    return {**row, "tasks_per_second": row["tasks"] / statistics.median(times), "peak_mib": peak}


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    torch.set_num_threads(asked["threads"])
    print(json.dumps(measured(job(asked), asked)))
