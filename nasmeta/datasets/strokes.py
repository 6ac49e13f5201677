"""A dataset that needs no download: characters of invented alphabets, drawn on demand."""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from nasmeta import seeding
from nasmeta.datasets.base import ImageTable
from nasmeta.datasets.contents import SplitContents, fingerprint
from nasmeta.datasets.images import ImageDataset
from nasmeta.datasets.stroke_programs import FAMILY, family, render, vary
from nasmeta.task import Split

Count = Annotated[int, Field(ge=1, le=100_000)]


class Strokes(ImageDataset):
    """Characters of two to five strokes, with `examples` hand-drawn versions of each; see stroke_programs.

    train_classes, valid_classes, test_classes: the numbers of classes in the splits. Images are ink 255 on 0,
    with `size` x `size` pixels. A class depends on `seed` alone: class 7 of a split
    is the same however many classes there are. No class, and no near relative of one, is in two splits.

    `distortion` scales how much the examples of a class differ; at 0 they are identical. At 1, ProtoNet's
    meta-test accuracy is 80% with the usual four convolutions of width 64, 74% with width 16, and 57% with
    two convolutions of width 8 (5-way 1-shot, 2,500 episodes, Adam 1e-3, batch statistics of support and
    query, one seed, 300 tasks).
    """

    def __init__(
        self,
        *,
        train_classes: Count,
        valid_classes: Count,
        test_classes: Count,
        examples: Count,
        size: Annotated[int, Field(ge=8, le=1024)],
        distortion: Annotated[float, Field(ge=0)],
        seed: int,
    ) -> None:
        super().__init__(channels=1, size=size, glyph=True)
        self._classes: dict[Split, int] = {
            "train": train_classes,
            "valid": valid_classes,
            "test": test_classes,
        }
        self._examples, self._size, self._distortion, self._seed = examples, size, distortion, seed

    def class_counts(self, split: Split) -> Mapping[str, int]:
        return {f"{split}/{index:04}": self._examples for index in range(self._classes[split])}

    def contents(self, split: Split) -> SplitContents:
        """The contents, with a fingerprint of the options, which determine every drawing.

        Draws nothing, and is the same on every machine.
        """
        names = tuple(self.class_counts(split))
        options = [split, len(names), self._examples, self._size, self._distortion, self._seed]
        return SplitContents(names, len(names) * self._examples, fingerprint(options))

    def _load(self, split: Split) -> Mapping[Split, ImageTable]:
        classes = self._classes[split]
        families = (family(self._seed, split, number) for number in range(-(-classes // FAMILY)))
        programs = [program for members in families for program in members][:classes]
        drawn = [
            vary(
                program,
                self._examples,
                self._distortion,
                seeding.stream(self._seed, "strokes", split, "examples", index),
            )
            for index, program in enumerate(programs)
        ]
        curves, half_widths = (np.concatenate(part) for part in zip(*drawn, strict=True))
        images = render(curves, half_widths, self._size).unsqueeze(1)
        counts = torch.full((classes,), self._examples)
        return {split: ImageTable(images, counts, tuple(self.class_counts(split)))}
