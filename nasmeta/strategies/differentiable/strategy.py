"""Differentiable architecture search: one relaxed network learns its architecture with its weights.

DARTS (Liu, Simonyan & Yang 2019, arXiv:1806.09055), first and second order; GDAS (Dong & Yang 2019,
arXiv:1910.04465) if edges are sampled; with the partial channels of PC-DARTS (Xu et al. 2020,
arXiv:1907.05737) if memory is short. Choose it for cell spaces if you can afford the training of one network.
It finds good cells fast, and bad ones without a guard.

The derivatives are in bilevel.py, the edges in sampling.py, early stopping in guard.py, and the alternation
of both descents in training.py.

One ask is one epoch, so `budget.trials` is the number of epochs. The proposal is the architecture derived at
the end of the epoch. The last one is trained in full, whatever the scores say (as in the papers). A proposal
repeats while the architecture does not change. An architecture beyond the run's constraints is not proposed.

Deviations:
- The weights' step of the unrolled loss is plain gradient descent at the outer optimizer's rate (eq. 7). The
  authors' code adds momentum and weight decay.
- In GDAS the authors step the weights first.
- Norms are affine and use the statistics of an episode, as everywhere here.
- GDAS' derivative is that of the computed operation alone (eq. 7 there).
- PC-DARTS' warm-up is left out.
"""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from nasmeta.errors import ConfigError, RunFailed
from nasmeta.search_spaces.relaxation.spec import Inputs, Relaxation
from nasmeta.strategies.base import Strategy
from nasmeta.strategies.context import SearchContext
from nasmeta.strategies.differentiable.guard import LAG, has_sharpened, skips
from nasmeta.strategies.differentiable.sampling import Sampling
from nasmeta.strategies.differentiable.training import ArchitectureOptimizer, BilevelTraining
from nasmeta.training.resumable import advance
from nasmeta.trial import Proposal


class Differentiable(Strategy):
    """Gradient-based search; each ask trains the relaxed network for `epoch_iterations` meta-iterations.

    second_order: whether the architecture looks one step of the weights ahead.
    edges: "softmax" weighs all operations (DARTS), "gumbel" samples one (GDAS). The temperature goes linearly
    from temperature_start to temperature_end.
    inputs: how a node weighs its inputs, see Relaxation. partial_channels: K of PC-DARTS; 1 for all channels.
    architecture_optimizer: that of the architecture's parameters, with architecture_lr, beta1 (of Adam),
    beta2 (for RMSProp its decay) and architecture_weight_decay.
    guard: what ends the search early, see guard.py; "eigenvalue" needs the edges "softmax", since the loss of
    a sampled network has no curvature in the architecture. max_skips: the most skips, for guard "skips".

    Raises ConfigError if the space has no such relaxed network, or for another guard than the edges allow.
    """

    warm_starts = False
    open_ended = False
    black_box = False

    def __init__(
        self,
        context: SearchContext,
        *,
        epoch_iterations: Annotated[int, Field(ge=1)],
        second_order: bool,
        edges: Literal["softmax", "gumbel"],
        temperature_start: Annotated[float, Field(gt=0)],
        temperature_end: Annotated[float, Field(gt=0)],
        inputs: Inputs,
        partial_channels: Annotated[int, Field(ge=1)],
        architecture_optimizer: Literal["adam", "rmsprop"],
        architecture_lr: Annotated[float, Field(gt=0)],
        beta1: Annotated[float, Field(ge=0, lt=1)],
        beta2: Annotated[float, Field(ge=0, lt=1)],
        architecture_weight_decay: Annotated[float, Field(ge=0)],
        guard: Literal["none", "skips", "eigenvalue"],
        max_skips: Annotated[int, Field(ge=0)],
    ) -> None:
        super().__init__(context)
        if guard == "eigenvalue" and edges == "gumbel":
            raise ConfigError(
                "strategy.guard: eigenvalue needs strategy.edges=softmax, since the loss of a sampled "
                "network has no curvature; use strategy.guard=skips or none"
            )
        self.epoch_iterations, self.second_order = epoch_iterations, second_order
        self.unrolls = second_order
        relaxation = self.relaxation = Relaxation(inputs, partial_channels)
        with torch.device("meta"):  # raises ConfigError if the space has no such network
            self.space.relaxed(context.problem.task, relaxation)
        self.sampling = Sampling(edges, temperature_start, temperature_end, self.seed)
        self.optimizer = ArchitectureOptimizer(
            architecture_optimizer, architecture_lr, beta1, beta2, architecture_weight_decay
        )
        self.guard, self.max_skips = guard, max_skips
        self.problem, self.progress_file = context.problem, context.progress_file
        self._training: BilevelTraining | None = None
        self._saved = self.progress_file.load()
        # What each epoch derived, and the eigenvalue after it if the guard needs it. All else follows from
        # these two.
        self._derived: list[str] = list(self._saved["derived"]) if self._saved else []
        self._eigenvalues: list[float] = list(self._saved["eigenvalues"]) if self._saved else []

    def _ask(self, trial: int) -> Proposal | None:
        while len(proposals := self._proposals()) <= trial and self._goes_on():
            self._epoch()
        if trial >= len(proposals):
            return None
        return Proposal(trial=trial, arch=proposals[trial], iterations=self.iterations)

    def _exhausted(self) -> bool:
        return not self._goes_on() and self._asked >= len(self._proposals())

    def chosen(self) -> list[Any]:
        """The last architecture before a guard warned, or the last one of all if none did."""
        stand = len(self._derived)
        if self._warned():
            stand -= LAG if self.guard == "eigenvalue" else 1
        kept = [arch for arch in self._archs(max(stand, 1)) if self._feasible(arch)]
        return kept[-1:]

    def _goes_on(self) -> bool:
        return len(self._derived) < self.trials and not self._warned()

    def _proposals(self) -> list[Any]:
        """What was derived, without the architecture at which a guard warned, unless it is the first."""
        archs = self._archs(max(len(self._derived) - self._warned(), 1))
        feasible = [arch for arch in archs if self._feasible(arch)]
        if not feasible and not self._goes_on():
            raise RunFailed(
                f"none of the {len(archs)} architectures that the search derived is within the constraints: "
                "raise constraints.max_params, .max_flops, .max_memory_kib or .max_flash_kib, or search with "
                "another strategy"
            )
        return feasible

    def _archs(self, epochs: int) -> list[Any]:
        return [self.space.parse(text) for text in self._derived[:epochs]]

    def _warned(self) -> bool:
        """Whether the guard has warned after the last epoch."""
        if not self._derived:
            return False
        if self.guard == "skips":
            last = self.space.parse(self._derived[-1])
            return skips(self.space.graph(last)) > self.max_skips
        return self.guard == "eigenvalue" and has_sharpened(self._eigenvalues)

    # One epoch ------------------------------------------------------------------------------------------

    def _epoch(self) -> None:
        training = self._running()
        end = (len(self._derived) + 1) * self.epoch_iterations
        file = self.progress_file
        advance(training, end, save=self._save, save_seconds=file.seconds, stop=file.stop)
        self._derived.append(str(training.derive()))
        if self.guard == "eigenvalue":
            rng = self.stream("eigenvalue", len(self._derived))
            self._eigenvalues.append(training.curvature(rng))
        self._save()

    def _running(self) -> BilevelTraining:
        """The training, resumed from what was saved."""
        if self._training is None:
            assert self.relaxation is not None
            self._training = BilevelTraining(
                self.problem,
                self.relaxation,
                self.sampling,
                self.optimizer,
                unrolled=self.second_order,
                iterations=self.trials * self.epoch_iterations,
            )
            if self._saved:
                self._training.load_state_dict(self._saved["training"])
        return self._training

    def _save(self) -> None:
        assert self._training is not None
        self.progress_file.save(
            {
                "derived": self._derived,
                "eigenvalues": self._eigenvalues,
                "training": self._training.state_dict(),
            }
        )
