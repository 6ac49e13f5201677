"""torch's optimizers without their guards against torch.compile.

Before it does anything, a method of torch's optimizers imports torch._dynamo, to keep the method out of what
torch.compile compiles. That takes as long as importing torch itself, in every process that trains. Nothing
here compiles an optimizer, so these classes have the methods below the guards.
"""

import inspect
from typing import TypeVar

import torch
from torch.optim import Optimizer

Kind = TypeVar("Kind", bound=Optimizer)

GUARDED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
"""Methods whose guard does nothing else. That of `step` turns gradients off, too."""


def _plain(kind: type[Kind]) -> type[Kind]:
    """A subclass of the same name, whose methods are those below the guards."""
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in GUARDED}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)


Adam = _plain(torch.optim.Adam)
AdamW = _plain(torch.optim.AdamW)
RMSprop = _plain(torch.optim.RMSprop)
SGD = _plain(torch.optim.SGD)
