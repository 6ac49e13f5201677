"""A meta-training task as a picture: the support examples and the queries."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nasmeta.reporting.figures.canvas import Figure, new_figure, rgb
from nasmeta.task import TaskBatch

MAX_CLASSES, MAX_COLUMNS = 20, 8
TILE, GUTTER, SEPARATOR = 56, 2, 8
PAPER, LINE = (255, 255, 255), (214, 84, 72)
TASKS_DRAWN = 4


def episode_picture(batch: TaskBatch) -> NDArray[np.uint8] | None:
    """Pixels [height, width, 3] of `episode_grid` or `regression_figure`; None for other inputs."""
    if batch.classes.shape[1] == 0:
        return rgb(regression_figure(batch))
    return episode_grid(batch) if batch.support_x.ndim == 5 else None


def episode_grid(batch: TaskBatch) -> NDArray[np.uint8]:
    """The images of the first task as one picture [height, width, 3] uint8.

    Each class is a row, with the support left of the red line and the queries right of it. At most 20 classes
    are shown, with at most 8 images on either side. Pixel values are stretched to the whole range, channel by
    channel; small images are enlarged. The batch holds images [T, N, C, H, W].
    """
    way = min(batch.classes.shape[1], MAX_CLASSES)
    support, query = _by_class(batch.support_x, batch), _by_class(batch.query_x, batch)
    pixels = _visible(np.concatenate([support, query], 1)[:way])
    shots = support.shape[1]
    left, right = _tiled(pixels[:, :shots]), _tiled(pixels[:, shots:])
    line = np.full((len(left), SEPARATOR, 3), PAPER, np.uint8)
    line[:, SEPARATOR // 2 - 1 : SEPARATOR // 2 + 1] = LINE
    return np.concatenate([left, line, right], 1)


def regression_figure(batch: TaskBatch) -> Figure:
    """The first four tasks, each in a panel: large support points, small query points joined by a curve.

    If there are several features or targets, the first of them is drawn.
    """
    tasks = min(len(batch.support_x), TASKS_DRAWN)
    figure = new_figure(3.2 * tasks, 2.6)
    for task, axes in enumerate(figure.subplots(1, tasks, squeeze=False, sharey=True)[0]):
        query_x, query_y = _first(batch.query_x[task]), _first(batch.query_y[task])
        support_x, support_y = _first(batch.support_x[task]), _first(batch.support_y[task])
        x, y = np.concatenate([support_x, query_x]), np.concatenate([support_y, query_y])
        order = np.argsort(x)
        axes.plot(x[order], y[order], color="#a9c1d9", lw=1.2)
        axes.plot(query_x, query_y, "o", color="#4878a8", ms=3, label="query")
        axes.plot(support_x, support_y, "o", color="#d65448", ms=6, label="support")
        axes.set_title(f"task {task}", fontsize=9)
        axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    return figure


def _first(values: Tensor) -> NDArray[np.float32]:
    """[N, ...] -> [N], the first number of each example."""
    array: NDArray[np.float32] = values.detach().float().flatten(1)[:, 0].cpu().numpy()
    return array


def _by_class(images: Tensor, batch: TaskBatch) -> NDArray[np.float32]:
    """The first task's images [way * n, C, H, W] as [way, at most MAX_COLUMNS, H, W, C]."""
    first = images[0].detach().float().cpu()
    grouped = first.reshape(batch.classes.shape[1], -1, *first.shape[1:])[:, :MAX_COLUMNS]
    array: NDArray[np.float32] = grouped.permute(0, 1, 3, 4, 2).numpy()
    return array


def _visible(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Images [..., H, W, C] of any range as [..., H', W', 3] in 0 to 255, enlarged if they are small.

    If there are not three channels, their mean is shown as grey.
    """
    if images.shape[-1] != 3:
        images = images.mean(-1, keepdims=True)
    channels = tuple(range(images.ndim - 1))
    low, high = images.min(channels), images.max(channels)
    scaled = (images - low) / np.maximum(high - low, 1e-8) * 255
    factor = max(1, TILE // images.shape[-2])
    enlarged = scaled.round().astype(np.uint8).repeat(factor, -3).repeat(factor, -2)
    return np.broadcast_to(enlarged, (*enlarged.shape[:-1], 3))


def _tiled(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images [rows, columns, H, W, 3] as one picture, with white gutters between them."""
    gutters = [(0, 0), (0, 0), (0, GUTTER), (0, GUTTER), (0, 0)]
    padded = np.pad(images, gutters, constant_values=PAPER[0])
    rows, columns, height, width, _ = padded.shape
    return padded.swapaxes(1, 2).reshape(rows * height, columns * width, 3)[:-GUTTER, :-GUTTER]
