"""The cost of conv networks by formulas: what networks.cost counts, without building anything."""

from nasmeta.search_spaces.conv.architecture import ConvArchitecture, ConvBlock, halved, image_shape
from nasmeta.search_spaces.count import IMAGE, Bits, Count
from nasmeta.task import TaskSpec
from nasmeta.trial import Cost


def cost(arch: ConvArchitecture, task: TaskSpec, bits: Bits) -> Cost:
    """The cost of the network of `arch` for `task`, with numbers of so many bits where it is deployed."""
    channels, height, width = image_shape(arch, task)
    count, x = Count(channels * height * width), IMAGE
    for block in arch.blocks:
        size = halved(height, block), halved(width, block)
        x = _block(count, x, block, channels, (height, width), size[0] * size[1])
        channels, (height, width) = block.width, size
    if arch.head == "gap":
        x = count.write(channels, x)
    count.product(x, count.sizes[x] * task.outputs, task.outputs, bias=True)
    return count.cost(bits)


def _block(count: Count, x: int, block: ConvBlock, channels: int, size: tuple[int, int], halved: int) -> int:
    """Adds a block that reads the map x of this size; downsampling leaves `halved` of its positions."""
    width, area, inner = block.width, block.kernel**2, max(block.width // 4, 4)
    stride, before = 2 if block.downsample == "stride" else 1, size[0] * size[1]
    after = halved if stride == 2 else before

    def padded(x: int, channels: int) -> int:
        return count.padded(x, channels, size, block.kernel, stride)

    def convolution(x: int, weights: int, width: int, positions: int = after) -> int:
        return count.norm(count.product(x, weights, width, positions), width, folds=block.norm == "bn")

    if block.op == "conv":
        y = convolution(padded(x, channels), channels * width * area, width)
    elif block.op == "sep":
        y = count.product(padded(x, channels), channels * area, channels, after)
        y = convolution(y, channels * width, width)
    else:
        y = padded(convolution(x, channels * inner, inner, before), inner)
        y = convolution(convolution(y, inner * inner * area, inner), inner * width, width)
    if block.se:
        squeezed = count.product(count.write(width, y), width * inner, inner, bias=True)
        y = count.write(width * after, y, count.product(squeezed, inner * width, width, bias=True))
    if block.shortcut:
        projected = x == IMAGE or channels != width or stride == 2
        y = count.write(width * after, y, convolution(x, channels * width, width) if projected else x)
    return count.write(width * halved, y) if block.downsample in ("max", "avg") else y
