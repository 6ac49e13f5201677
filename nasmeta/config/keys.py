"""The run-wide keys, which are the same whatever options are composed; conf/search.yaml has their values."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from nasmeta.runtime.validation import Strict
from nasmeta.search_spaces.count import Bits
from nasmeta.search_spaces.settings import Tune
from nasmeta.trial import Limits

SETTINGS = ("experiment", "target", "debug")
"""The groups whose options set keys of others. A configuration that is composed has only those values."""

EXECUTION = ("task_parallel", "task_chunk", "compile", "cuda_graphs", "kernels")
"""Keys that say how numbers are computed, but not which."""

WITHOUT_EFFECT = ("progress", "logger", "save_seconds", "on_failure", "dataset.cache")
"""Keys on which no result depends, with all keys below them."""

Count = Annotated[int, Field(ge=1, le=10**12)]
Positive = Annotated[float, Field(gt=0)]
Size = Annotated[int, Field(ge=1, le=65536)]


def is_below(key: str, keys: Iterable[str]) -> bool:
    """Whether a dotted key is one of `keys`, or below one."""
    return any(key == above or key.startswith(f"{above}.") for above in keys)


def has_effect(key: str) -> bool:
    """Whether a result may depend on a dotted key."""
    return not is_below(key, WITHOUT_EFFECT)


class TaskConfig(BaseModel):
    """Episodes: classes in each, support and query examples per class, and episodes per meta-step."""

    model_config = Strict
    way: Size
    shot: Size
    query: Size
    meta_batch: Size


class BudgetConfig(BaseModel):
    """How many trials there are, how many meta-iterations each has, and how many tasks judge them.

    final_candidates, final_rounds: how many candidates enter the finals, and in how many rounds of successive
    halving they are trained in full. final_seeds: the networks of each architecture in the last round.
    keep: the iterate that a full training leaves. If it is the best one, iterates are judged every
    `judge_every` meta-iterations; patience: end after so many judgements without improvement.
    max_seconds: the search proposes no further trial after so many seconds; None is no limit.
    """

    model_config = Strict
    trials: Count
    search_iterations: Count
    reference_trials: Count
    final_candidates: Count
    final_rounds: Annotated[int, Field(ge=1, le=32)]
    final_seeds: Count
    final_iterations: Count
    final_tasks: Annotated[int, Field(ge=2, le=10**7)]
    valid_tasks: Annotated[int, Field(ge=2, le=10**7)]
    test_tasks: Annotated[int, Field(ge=2, le=10**7)]
    keep: Literal["last", "best"]
    judge_every: Count
    patience: Count | None
    max_seconds: Positive | None


class ConstraintsConfig(BaseModel):
    """Limits on what every candidate costs, and the operations that it may have; null is no limit.

    bits: the width of a number in the deployed network, for memory and flash.
    """

    model_config = Strict
    max_params: Count | None
    max_flops: Count | None
    max_memory_kib: Positive | None
    max_flash_kib: Positive | None
    max_latency_ms: Positive | None
    bits: Bits
    operations: list[str] | None

    @property
    def limits(self) -> Limits:
        """The limits on what is counted."""
        memory, flash = (kib and 1024 * kib for kib in (self.max_memory_kib, self.max_flash_kib))
        return Limits(
            params=self.max_params, flops=self.max_flops, memory=memory, flash=flash, bits=self.bits
        )


class RunKeys(BaseModel):
    """The run-wide keys, which are the same whatever options are composed."""

    model_config = Strict
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    device: str
    batch_norm: Literal["support", "transductive", "running"]
    task: TaskConfig
    budget: BudgetConfig
    constraints: ConstraintsConfig
    tune: Tune
    history: list[str]
    task_parallel: Literal["auto", "loop", "threads", "vmap"]
    task_chunk: Count | None
    compile: bool
    cuda_graphs: Literal["auto", True, False]
    kernels: Literal["auto", "torch", "triton"]
    precision: Literal["auto", "fp32", "tf32", "bf16"]
    on_failure: Literal["go_on", "stop"]
    save_seconds: Annotated[float, Field(ge=0)]
    logger: dict[str, dict[str, Any]]
    progress: bool
