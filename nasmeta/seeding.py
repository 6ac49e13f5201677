"""Every random number of a run: streams keyed by what they are for.

A stream is a counter-based Philox generator whose key is a hash of (seed, names). Nothing is shared and
nothing is saved: episode 731 of a run is the same whether or not the process died at 730, and drawing
more numbers for one purpose never moves another.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np

Name = str | int


def _digest(seed: int, names: tuple[Name, ...]) -> bytes:
    # The type is part of the key, so the names 1 and "1" are two streams.
    key = "\x1f".join(f"{type(name).__name__}:{name}" for name in (seed, *names))
    return blake2b(key.encode(), digest_size=16).digest()


def stream(seed: int, *names: Name) -> np.random.Generator:
    """A generator that depends on `seed` and `names` alone, e.g. `stream(0, "episodes", "train", 731)`."""
    key = np.frombuffer(_digest(seed, names), dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def integer(seed: int, *names: Name) -> int:
    """A 63-bit integer for generators that are seeded by one number, such as torch's."""
    return int.from_bytes(_digest(seed, names)[:8], "little") >> 1


@contextmanager
def torch_stream(seed: int, *names: Name) -> Iterator[None]:
    """Inside, torch's initializers draw from a stream of their own; outside nothing has moved.

    Modules initialize themselves from torch's global CPU generator and take no other, so it is set for
    the time of building one and put back.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(integer(seed, *names))
        yield
