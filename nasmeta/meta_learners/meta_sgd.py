"""Meta-SGD (Li, Zhou, Chen & Li 2017, arXiv:1707.09835): MAML with a learned rate for each parameter.

theta' = theta - alpha * d L_support(theta) / d theta (eq. 3 there; the product is elementwise). alpha has
the shape of theta and is meta-learned with it. One step thus learns a direction as well as a length, and an
entry may become negative. The paper takes one step, in training and in testing. Choose it over MAML if good
inner rates are not known, or if one step must suffice. It doubles what the outer optimizer has to store.

Every entry of alpha starts at its own draw, uniform over the paper's range. With one draw for all entries,
each architecture of a search would start from another rate. Steps beyond the first use the same alpha.
Beyond the paper, `second_order: false` drops second derivatives as first-order MAML does.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from nasmeta.errors import ConfigError
from nasmeta.meta_learners.maml import Maml
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.network import Parameters
from nasmeta.networks.policy import BatchNormPolicy


class MetaSgd(Maml):
    """Meta-SGD. Its other arguments are those of Maml.

    alpha_min, alpha_max: the range in which entries of alpha start, above 0. If both are equal, it starts
    with one rate for all entries, as MAML has. Raises ConfigError if alpha_min > alpha_max.
    """

    def __init__(
        self,
        *,
        second_order: bool,
        train_steps: Annotated[int, Field(ge=1)],
        test_steps: Annotated[int, Field(ge=1)],
        alpha_min: Annotated[float, Field(gt=0)],
        alpha_max: Annotated[float, Field(gt=0)],
        batch_norm: BatchNormPolicy,
    ) -> None:
        if alpha_min > alpha_max:
            raise ConfigError(
                f"meta_learner.alpha_min={alpha_min}: is above meta_learner.alpha_max={alpha_max}; "
                f"use at most {alpha_max}"
            )
        super().__init__(
            second_order=second_order,
            train_steps=train_steps,
            test_steps=test_steps,
            inner_lr=alpha_max,
            learn_inner_lr=True,
            multi_step_iterations=0,
            adapted_part="all",
            batch_norm=batch_norm,
        )
        self.alpha_min, self.alpha_max = alpha_min, alpha_max

    def extra_parameters(self, state: MetaState) -> Parameters:
        low, high = self.alpha_min, self.alpha_max
        return {
            f"alpha.{name}": torch.empty(theta.shape, dtype=theta.dtype).uniform_(low, high)
            for name, theta in state.network_parameters.items()
        }

    def _rates(self, state: MetaState, step: int) -> dict[str, Tensor]:
        return {name: state.parameters[f"meta.alpha.{name}"] for name in self.adapted_names(state)}
