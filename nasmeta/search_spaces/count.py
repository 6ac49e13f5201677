"""Adds up what a network costs, operation by operation, without building it."""

from typing import Literal

from nasmeta.trial import Cost

Bits = Literal[8, 32]
"""The width of a number in a deployed network: an int8, or a float32."""

IMAGE = 0
"""The tensor that the first operation reads."""


class Liveness:
    """The tensors of a network, in the order in which its operations write them; the first is its input.

    size: how many numbers the input has. A tensor lives from the operation that writes it to the last one
    that reads it.
    """

    def __init__(self, size: int) -> None:
        self.sizes, self.last_reads = [size], [IMAGE]

    def write(self, size: int, *reads: int) -> int:
        """Adds an operation that writes `size` numbers and reads these tensors; returns the new tensor."""
        written = len(self.sizes)
        for tensor in reads:
            self.last_reads[tensor] = written
        self.sizes.append(size)
        self.last_reads.append(written)
        return written

    def peak(self) -> int:
        """The most numbers that live during an operation, its own input and output among them."""
        ends = [0] * len(self.sizes)
        for size, last in zip(self.sizes, self.last_reads, strict=True):
            ends[last] += size
        alive = peak = 0
        for size, end in zip(self.sizes, ends, strict=True):
            alive += size
            peak = max(peak, alive)
            alive -= end
        return peak


class Count(Liveness):
    """A network's operations and their parameters, as networks/cost.py and networks/memory.py count them."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.weights = self.vectors = self.folded = self.products = 0

    def product(self, x: int, weights: int, width: int, positions: int = 1, *, bias: bool = False) -> int:
        """A convolution or a fully connected layer (one position), whose kernel has so many weights."""
        self.weights += weights
        self.vectors += width * bias
        self.products += weights * positions
        return self.write(width * positions, x)

    def padded(self, x: int, channels: int, size: tuple[int, int], kernel: int, stride: int) -> int:
        """The map x of `size`, padded by an operation of its own if a convolution of this stride needs it."""
        height, width = size
        if kernel == 1 or stride == 1 or height % 2 == width % 2 == 1:
            return x
        return self.write(channels * (height + kernel - 1) * (width + kernel - 1), x)

    def norm(self, x: int, width: int, *, folds: bool) -> int:
        """A norm with scale and shift after `product`. A batch norm folds into it and leaves the shift."""
        self.vectors += 2 * width
        self.folded += width * folds
        return x if folds else self.write(self.sizes[x], x)

    def cost(self, bits: Bits) -> Cost:
        """The cost of what was added."""
        return Cost(
            params=self.weights + self.vectors,
            flops=2 * self.products,
            memory=bits * self.peak() // 8,
            flash=flash(self.weights, self.vectors - self.folded, bits),
        )


def flash(weights: int, biases: int, bits: Bits) -> int:
    """The bytes of a deployed network's parameters: `bits` for a weight, 32 for a bias."""
    return bits * weights // 8 + 4 * biases
