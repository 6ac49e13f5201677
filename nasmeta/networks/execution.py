"""How a meta-step is executed. The results are the same up to rounding.

`task_parallel` says how the tasks of a meta-batch are computed:
- loop: one after the other, each operation on all cores.
- threads: one task per core, each operation on that core alone. A small network's operations are too short
  to be split over cores: on two cores MAML and Reptile are 1.1 to 1.7 times as fast as with `loop` (noisy
  runs; compare with `nasmeta bench task_parallel=loop`). Results do not depend on the number of threads.
- vmap: all at once with torch.vmap, each task with its own weights. This keeps a GPU busy, and it speeds up
  small matrix products on any device. Convolutions become grouped ones, which take twice the time on a CPU.
  Memory grows with the number of tasks.
- auto: on a CPU, threads for networks with convolutions and vmap for others. On a GPU, vmap (H200, 4-conv-32,
  32 tasks, MAML and Reptile: 9 to 18 times as fast as `loop`).

`task_chunk` limits the tasks that are in memory at once, for vmap and threads.

`kernels` says what computes the layers:
- torch: PyTorch's own.
- triton: Triton's (kernels/triton/) where they can, on a GPU. Without one, Triton's interpreter runs them on
  the CPU, slowly, to test them.
- auto: what was measured to be faster. That is triton on a GPU of compute capability 9 (H100, H200), if
  Triton is installed and can build kernels and the network is not compiled, but for group norms, whose
  kernels no GPU has run yet; it is torch on a CPU and on other GPUs, on which nothing was measured.

`cuda_graphs` says what is recorded as a CUDA graph and launched as one, on a GPU:
- false: nothing.
- true: whole meta-steps, the outer optimizer's kernel included, relaxed networks' too, and predictions.
- auto: what was measured to be faster, which is meta-gradients and predictions of networks that are not
  relaxed. No GPU has run the rest yet.

`precision` says how float32 is multiplied:
- fp32: as it is.
- tf32: convolutions and matrix products in TF32, on a GPU.
- bf16: the network runs under autocast.
- auto: PyTorch's own default, which is fp32 with TF32 for convolutions on a GPU, and fp32 on a CPU. Tasks'
  own convolutions by kernels=torch are matrix products, which are fp32 by that default.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Literal, TypeVar

import torch
from packaging.version import Version
from torch import Tensor, nn

from nasmeta.errors import ConfigError
from nasmeta.runtime.device import Precision

Parallel = Literal["auto", "loop", "threads", "vmap"]
Implementation = Literal["auto", "torch", "triton"]
Recording = Literal["auto", True, False]
T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger(__name__)

TRITON = Version("3.6")
"""The first version of Triton that multiplies float32 as kernels/triton/ asks for."""
NO_VERSION = Version("0")


@dataclass(frozen=True)
class Execution:
    """The settings that say how a meta-step is executed.

    task_parallel: loop, threads, vmap or auto; the head of this file says what each does.
    task_chunk: the most tasks in memory at once, at least 1 (None: no limit).
    compile: whether the network runs through torch.compile.
    precision: auto, fp32, tf32 (CUDA only), or bf16 by autocast. TF32 is an option of the process, which
    `nasmeta.runtime.device.pick` sets.
    cuda_graphs: what is recorded as CUDA graphs (training/cuda_graphs.py): nothing, all that can be, or
    `auto`, what was measured to be faster. It is ignored on a CPU and with threads.
    kernels: torch, triton, which computes what it can and leaves the rest to torch, or auto, which is torch
    until it is resolved.
    measured_only: whether triton leaves to torch what was not measured to be faster, which `auto` stands for.
    """

    task_parallel: Parallel = "loop"
    task_chunk: int | None = None
    compile: bool = False
    precision: Precision = "fp32"
    cuda_graphs: Recording = False
    kernels: Implementation = "torch"
    measured_only: bool = False

    def resolved(self, module: nn.Module, device: torch.device) -> "Execution":
        """The same with `auto` resolved for `module` on `device`, and `cuda_graphs` off if impossible.

        `precision` stays, since `auto` differs from fp32 only in options of the process.
        """
        able = device.type == "cuda" and self.task_parallel != "threads"
        return replace(
            self,
            task_parallel=self._parallel(module, device),
            cuda_graphs=self.cuda_graphs if able else False,
            kernels=self._kernels(device),
            measured_only=self.measured_only or self.kernels == "auto",
        )

    def in_use(self, device: torch.device) -> dict[str, str]:
        """The kernels and the precision that results on `device` depend on, with `auto` resolved."""
        tf32 = "fp32 with tf32 convolutions" if _is_ampere(device) else "fp32"
        precision = tf32 if self.precision == "auto" else self.precision
        everything = self.kernels == "triton" and not self.measured_only
        kernels = "triton with group norms" if everything else self._kernels(device)
        return {"kernels": kernels, "precision": precision}

    def _kernels(self, device: torch.device) -> Implementation:
        if self.kernels != "auto":
            return self.kernels
        able = _is_measured(device) and not self.compile and _triton_version() >= TRITON
        return "triton" if able and _triton_works(device) else "torch"

    def _parallel(self, module: nn.Module, device: torch.device) -> Parallel:
        if self.task_parallel != "auto":
            return self.task_parallel
        convolutions = any(isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d) for m in module.modules())
        if device.type != "cpu" or not convolutions:
            return "vmap"
        return "threads" if torch.get_num_threads() > 1 and not self.compile else "loop"

    def smaller(self, tasks: int) -> "Execution | None":
        """The same with half as many tasks at once, for a meta-batch of `tasks` that does not fit in memory.

        None if tasks are computed one at a time already.
        """
        at_once = self._at_once(tasks)
        return replace(self, task_chunk=at_once // 2) if at_once > 1 else None

    def pieces(self, tensors: Sequence[Tensor]) -> list[list[Tensor]]:
        """Cuts tensors [T, ...] into pieces that are computed at once: single tasks, or chunks for vmap."""
        tasks = len(tensors[0])
        size = self._at_once(tasks) if self.task_parallel == "vmap" else 1
        return [[part[i : i + size] for part in tensors] for i in range(0, tasks, size)]

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """function(item) for each item, in order; in threads if `task_parallel` says so."""
        workers = min(self._at_once(len(items)), len(items)) if self.task_parallel == "threads" else 1
        return _pool(workers, os.getpid()).map(function, items) if workers > 1 else map(function, items)

    def _at_once(self, tasks: int) -> int:
        limit = {"vmap": tasks, "threads": torch.get_num_threads()}.get(self.task_parallel, 1)
        return max(1, min(tasks, limit, self.task_chunk or limit))


def check(execution: Execution, device: torch.device, second_order: bool) -> None:
    """Raises ConfigError if settings exclude each other, or if the device does not support one."""
    if execution.precision == "tf32" and device.type != "cuda":
        raise ConfigError(
            f"precision: tf32 is a mode of CUDA devices, not of {device.type}; use auto, fp32, bf16"
        )
    if execution.compile and execution.task_parallel == "threads":
        raise ConfigError("compile: a compiled network is not run in threads; use task_parallel=auto, loop")
    if execution.compile and second_order:
        raise ConfigError(
            "compile: torch.compile cannot differentiate twice, as second-order MAML does; "
            "use compile=false, or meta_learner=fomaml"
        )
    if execution.kernels == "triton":
        _check_triton(execution, device)


def _is_ampere(device: torch.device) -> bool:
    """Whether it is a GPU of compute capability 8.0 or more, whose matrix units take TF32."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def _is_measured(device: torch.device) -> bool:
    """Whether it is a GPU of compute capability 9, as the H200 on which Triton's kernels were measured."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == 9


def _triton_version() -> Version:
    """NO_VERSION if Triton is not installed."""
    for name in ("triton", "pytorch-triton"):  # the latter is of PyTorch's nightly builds
        with contextlib.suppress(PackageNotFoundError):
            return Version(version(name))
    return NO_VERSION


@cache
def _triton_works(device: torch.device) -> bool:
    """Whether Triton can build and run its kernels there, for which it needs a C compiler; logs why not."""
    from nasmeta.networks.kernels.triton.convolution import convolve  # imports Triton
    from nasmeta.networks.kernels.triton.norm import norm_activation_pool

    images, ones = torch.ones(1, 1, 16, 2, 2, device=device), torch.ones(1, 16, device=device)
    try:
        norm_activation_pool(images, ones, ones, 1, 1e-5, "none", "none")
        convolve(images, torch.ones(1, 16, 16, 3, 3, device=device), 1, 1)
    except Exception as error:  # of a compiler, a linker or a driver
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        log.warning("kernels: torch computes the layers, since Triton cannot build its kernels: %s", reason)
        return False
    return True


def _check_triton(execution: Execution, device: torch.device) -> None:
    found = _triton_version()
    if found < TRITON:
        state = f"installed as {found}" if found > NO_VERSION else "not installed"
        raise ConfigError(
            f"kernels: triton is {state}: pip install 'nasmeta[triton]' ({TRITON} or newer), or use "
            "kernels=torch"
        )
    if device.type != "cuda" and not (device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"):
        raise ConfigError(
            f"kernels: triton is for GPUs, and device is {device.type}; use kernels=torch, or "
            "TRITON_INTERPRET=1 in the environment to test its kernels on a CPU"
        )
    if execution.compile:
        raise ConfigError(
            "compile: torch.compile has kernels of its own; use compile=false, or kernels=torch"
        )


@lru_cache(maxsize=4)
def _pool(workers: int, pid: int) -> ThreadPoolExecutor:
    """Threads whose torch operations use one core each. `pid` is a key: a forked process makes its own."""
    return ThreadPoolExecutor(workers, "tasks", initializer=torch.set_num_threads, initargs=(1,))
