from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasmeta import seeding
from nasmeta.datasets.base import ImageTable
from nasmeta.datasets.episodes import ImageEpisodeSampler, distinct
from tests.datasets.tables import marked_table, sampler_of

RAGGED = [9, 6, 12, 7, 6]


def test_every_ordered_draw_is_equally_likely():
    n = 60_000
    draws = distinct(seeding.stream(0, "test"), np.full(n, 4), 3)
    found, counts = np.unique(draws, axis=0, return_counts=True)
    assert [tuple(row) for row in found] == sorted(permutations(range(4), 3))
    chi_square = ((counts - n / 24) ** 2 / (n / 24)).sum()
    assert chi_square < 49.7  # 23 degrees of freedom: exceeded by chance once in a thousand


def test_ragged_populations_are_drawn_uniformly():
    n = 20_000
    draws = distinct(seeding.stream(0, "test"), np.tile([2, 5], (n, 1)), 2)
    for column, size in ((0, 2), (1, 5)):
        for position in range(2):
            counts = np.bincount(draws[:, column, position], minlength=size)
            assert ((counts - n / size) ** 2 / (n / size)).sum() < 18.5  # 4 degrees: once in a thousand


@given(
    populations=st.lists(st.integers(5, 40), min_size=1, max_size=6),
    draws=st.integers(1, 5),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=60, deadline=None)
def test_draws_are_distinct_and_inside(populations, draws, seed):
    population = np.array(populations)
    picks = distinct(seeding.stream(seed, "test"), population, draws)
    assert picks.shape == (len(populations), draws)
    for row, size in zip(picks, populations, strict=True):
        assert len(set(row)) == draws
        assert row.min() >= 0
        assert row.max() < size


def test_drawing_all_is_a_permutation():
    picks = distinct(seeding.stream(0, "test"), np.full(5, 7), 7)
    assert (np.sort(picks, axis=1) == np.arange(7)).all()


@given(
    way=st.integers(1, 5),
    shot=st.integers(1, 3),
    query=st.integers(1, 3),
    tasks=st.integers(1, 4),
    iteration=st.integers(0, 10**9),
)
@settings(max_examples=40, deadline=None)
def test_batches_hold_what_their_labels_say(way, shot, query, tasks, iteration):
    batch = sampler_of(marked_table(RAGGED), way, shot, query).batch(iteration, tasks)
    assert batch.support_x.shape == (tasks, way * shot, 1, 4, 4)
    assert batch.query_x.shape == (tasks, way * query, 1, 4, 4)
    assert batch.support_x.dtype == torch.float32
    assert batch.classes.dtype == batch.support_y.dtype == batch.query_y.dtype == torch.int64
    assert batch.support_y.tolist() == [[label for label in range(way) for _ in range(shot)]] * tasks
    assert batch.query_y.tolist() == [[label for label in range(way) for _ in range(query)]] * tasks
    for t in range(tasks):
        assert len(set(batch.classes[t].tolist())) == way
        seen = set()
        for x, y in ((batch.support_x[t], batch.support_y[t]), (batch.query_x[t], batch.query_y[t])):
            assert torch.equal(x[:, 0, 0, 0].round().long(), batch.classes[t][y])
            seen |= {(round(image[0, 0, 0].item()), round(image[0, 0, 1].item())) for image in x}
        assert len(seen) == way * (shot + query)
        assert all(image < RAGGED[class_] for class_, image in seen)


def test_classes_and_images_come_up_equally_often():
    batch = sampler_of(marked_table(RAGGED), way=2, shot=1, query=1).batch(0, 10_000)
    classes = torch.bincount(batch.classes.flatten(), minlength=5)
    assert ((classes - 4000) ** 2 / 4000).sum() < 18.5
    of_class_2 = batch.support_x[batch.support_x[:, :, 0, 0, 0].round() == 2][:, 0, 0, 1].round().long()
    counts, expected = torch.bincount(of_class_2, minlength=12), len(of_class_2) / 12
    assert ((counts - expected) ** 2 / expected).sum() < 31.3  # 11 degrees


def test_a_batch_depends_on_seed_split_and_iteration_alone():
    table = marked_table([30] * 20)
    first, again = sampler_of(table), sampler_of(table)
    again.batch(0, 3)  # nothing is remembered
    for a, b in zip(first.batch(7, 5), again.batch(7, 5), strict=True):
        assert torch.equal(a, b)
    classes = first.batch(7, 5).classes
    assert not torch.equal(classes, first.batch(8, 5).classes)
    assert not torch.equal(classes, sampler_of(table, seed=1).batch(7, 5).classes)
    other = ImageEpisodeSampler(table, way=3, shot=2, query=4, seed=0, split="valid", mean=(0.0,), std=(1.0,))
    assert not torch.equal(classes, other.batch(7, 5).classes)


def test_recorded_episode():
    """Every published number depends on these draws: a change here needs a word in the changelog."""
    batch = sampler_of(marked_table(RAGGED), way=3, shot=1, query=2).batch(731, 2)
    assert batch.classes.tolist() == RECORDED_CLASSES
    assert batch.query_x[:, :, 0, 0, 1].round().long().tolist() == RECORDED_QUERIES


RECORDED_CLASSES = [[1, 2, 4], [1, 0, 4]]
RECORDED_QUERIES = [[1, 4, 0, 5, 5, 2], [5, 3, 8, 7, 2, 3]]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_images_are_channels_last(channels, memory_format):
    table = marked_table(RAGGED, channels, size=6)
    table = ImageTable(table.images.contiguous(memory_format=memory_format), table.counts, table.names)
    strides = (36 * channels, 1, 6 * channels, channels)
    batch = sampler_of(table).batch(0, 2)
    for x in (batch.support_x, batch.query_x):
        assert x[1].stride() == strides


def test_normalization_is_a_channel_apart():
    table = marked_table([4, 4], channels=3)
    mean, std = (0.1, 0.5, 0.2), (0.3, 0.25, 0.5)
    sampler = ImageEpisodeSampler(table, way=2, shot=1, query=1, seed=0, split="train", mean=mean, std=std)
    corner = sampler.batch(0, 1).support_x[0, 0, :, 3, 3]
    expected = [(7 / 255 - m) / s for m, s in zip(mean, std, strict=True)]
    assert corner.tolist() == pytest.approx(expected, abs=1e-6)


def test_sampler_runs_on_the_meta_device():
    """There any tensor left on the host and any wait for a value raises."""
    table = marked_table(RAGGED, channels=3).to(torch.device("meta"))
    batch = sampler_of(table).batch(0, 2)
    assert all(tensor.is_meta for tensor in batch)
    assert batch.query_x.shape == (2, 12, 3, 4, 4)
    assert batch.query_x[0].is_contiguous(memory_format=torch.channels_last)
