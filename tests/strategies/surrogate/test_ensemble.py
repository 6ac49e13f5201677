import numpy as np
import torch

from nasmeta.seeding import stream
from nasmeta.strategies.surrogate.ensemble import CHUNK, Ensemble
from nasmeta.strategies.surrogate.graphs import EncodedGraph, encode, feature_length
from nasmeta.testing.toy_space import Digits, ToySpace, distance_score

SPACE = ToySpace(length=4, base=6)


def ensemble(seed: int = 0) -> Ensemble:
    return Ensemble(feature_length(SPACE.operations), stream(seed, "ensemble"))


def data(count: int, name: str) -> tuple[list[EncodedGraph], np.ndarray]:
    rng = stream(0, name)
    archs: list[Digits] = [SPACE.sample(rng) for _ in range(count)]
    targets = np.array([distance_score(arch) for arch in archs], dtype=np.float32)
    return [encode(SPACE.graph(arch), SPACE.operations) for arch in archs], (targets + 8) / 3


def test_it_learns_what_it_has_not_seen() -> None:
    graphs, targets = data(100, "train")
    unseen, truth = data(100, "test")
    made = ensemble()
    made.fit(graphs, targets, 300, stream(0, "fit"))
    mean, std = made.predict(unseen)
    assert mean.dtype == std.dtype == torch.float64
    assert (std > 0).all()
    assert np.corrcoef(mean.numpy(), truth)[0, 1] > 0.8
    # Doubt is honest in order: it is less where the answer was given.
    assert made.predict(graphs)[1].mean() < std.mean()


def test_it_goes_on_from_where_it_was() -> None:
    graphs, targets = data(40, "train")
    once, twice = ensemble(), ensemble()
    once.fit(graphs, targets, 6, stream(0, "fit"))
    for _ in range(2):
        twice.fit(graphs, targets, 3, stream(0, "fit"))
    assert torch.equal(once.predict(graphs)[0], twice.predict(graphs)[0])


def test_many_graphs_are_predicted_in_chunks() -> None:
    graphs, _ = data(CHUNK + 3, "many")
    made = ensemble()
    whole = made.predict(graphs)[0]
    assert whole.shape == (CHUNK + 3,)
    torch.testing.assert_close(whole[-3:], made.predict(graphs[-3:])[0], rtol=1e-4, atol=1e-6)


def test_it_leaves_torch_as_it_was_and_computes_the_same_on_any_number_of_threads() -> None:
    graphs, targets = data(80, "train")
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    predictions = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with torch.no_grad():  # whatever the caller's mode is
                made = ensemble()
                made.fit(graphs, targets, 20, stream(0, "fit"))
                predictions.append(made.predict(graphs)[0])
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*predictions)


def test_another_stream_is_another_ensemble() -> None:
    graphs, _ = data(5, "train")
    assert not torch.equal(ensemble(0).predict(graphs)[0], ensemble(1).predict(graphs)[0])
