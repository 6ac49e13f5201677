"""Pictures of stripes in folders: a class is their direction, width and colour."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nasmeta import seeding


def picture(label: int, number: int) -> NDArray[np.uint8]:
    """[16, 16, 3]: stripes, whose direction, width and colour are the class, in noise."""
    rng = seeding.stream(0, "picture", label, number)
    x = np.arange(16)
    turn, width, colour = label % 4, 2 + label % 3, np.eye(3)[label % 5 % 3]
    along = np.stack([x[:, None] + 0 * x, 0 * x[:, None] + x, x[:, None] + x, x[:, None] - x])[turn]
    stripes = (along // width % 2)[..., None] * (0.4 + 0.6 * colour)
    return (200 * stripes + rng.uniform(0, 55, (16, 16, 3))).astype(np.uint8)


def files(root: Path, classes: list[int], numbers: range) -> tuple[list[Path], list[str]]:
    found = [root / f"c{label:02}" / f"{number}.png" for label in classes for number in numbers]
    return found, [file.parent.name for file in found]
