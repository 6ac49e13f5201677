"""All random numbers of a run: one stream for each purpose, keyed by its names.

A stream is a counter-based Philox generator whose key is a hash of (seed, names). Nothing is shared or saved:
episode 731 of a run is the same whether or not the process died at 730, and drawing more numbers for one
purpose never changes another.
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
    """A generator that depends only on `seed` and `names`, e.g. `stream(0, "episodes", "train", 731)`."""
    key = np.frombuffer(_digest(seed, names), dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def integer(seed: int, *names: Name) -> int:
    """A 63-bit integer for generators that take one number as their seed, such as torch's."""
    return int.from_bytes(_digest(seed, names)[:8], "little") >> 1


@contextmanager
def torch_stream(seed: int, *names: Name) -> Iterator[None]:
    """Inside this context torch's initializers draw from a stream of their own.

    Modules initialize themselves from torch's global CPU generator and accept no other. So it is seeded on
    entry, and its earlier state is restored on exit.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(integer(seed, *names))
        yield
