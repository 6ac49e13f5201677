"""The cost of conv networks by formulas: what networks.cost counts, without building anything."""

from nasmeta.search_spaces.conv.architecture import ConvArchitecture, ConvBlock, halved, image_shape
from nasmeta.task import TaskSpec
from nasmeta.trial import Cost


def cost(arch: ConvArchitecture, task: TaskSpec) -> Cost:
    """Parameters, and FLOPs of one image's forward pass, of the network of `arch` for `task`."""
    channels, height, width = image_shape(arch, task)
    params = flops = 0
    for number, block in enumerate(arch.blocks):
        size = halved(height, block), halved(width, block)
        convolved = size if block.downsample == "stride" else (height, width)
        block_cost = _block(block, channels, height * width, convolved[0] * convolved[1], first=number == 0)
        params, flops = params + block_cost.params, flops + block_cost.flops
        channels, (height, width) = block.width, size
    features = channels * height * width if arch.head == "flatten" else channels
    head = features * task.outputs
    return Cost(params + head + task.outputs, flops + 2 * head)


def _block(block: ConvBlock, channels: int, before: int, after: int, *, first: bool) -> Cost:
    """The cost of a block; before, after: positions of the map before and after its convolutions."""
    width, area, inner = block.width, block.kernel**2, max(block.width // 4, 4)
    norms = 2 * width
    # The weights of each convolution, and the positions that it is applied to.
    if block.op == "conv":
        convolutions = [(channels * width * area, after)]
    elif block.op == "sep":
        convolutions = [(channels * area, after), (channels * width, after)]
    else:
        convolutions = [(channels * inner, before), (inner * inner * area, after), (inner * width, after)]
        norms += 4 * inner
    if block.shortcut and (first or channels != width or block.downsample == "stride"):
        convolutions.append((channels * width, after))
        norms += 2 * width
    if block.se:
        convolutions.append((2 * width * inner, 1))
        norms += width + inner  # the biases
    weights = sum(weights for weights, _ in convolutions)
    return Cost(weights + norms, sum(2 * weights * positions for weights, positions in convolutions))
