import torch
from hypothesis import given
from hypothesis import strategies as st

from nasmeta import seeding

NAMES = st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=3)


@given(st.integers(0, 2**63), NAMES)
def test_a_stream_depends_on_seed_and_names_alone(seed: int, names: list) -> None:
    a = seeding.stream(seed, *names).integers(0, 2**32, 4)
    seeding.stream(seed, "another").random(7)
    assert (a == seeding.stream(seed, *names).integers(0, 2**32, 4)).all()


def test_every_part_of_the_name_makes_another_stream() -> None:
    names = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", 1), (0, "a", "1"), (0, "a1"), (0, "ab"), (0, 1, "a")]
    first = [int(seeding.stream(*name).integers(0, 2**62)) for name in names]
    assert len(set(first)) == len(names)


def test_streams_are_the_same_in_every_process_and_version() -> None:
    # A recorded value: runs made by a released version must resume under the next.
    assert seeding.stream(0, "episodes", "train", 731).integers(0, 1000, 5).tolist() == [
        513,
        742,
        253,
        249,
        282,
    ]


def test_torch_stream_is_deterministic_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with seeding.torch_stream(0, "init"):
        a = torch.nn.Linear(3, 2).weight.detach().clone()
    assert torch.equal(before, torch.get_rng_state())
    with seeding.torch_stream(0, "init"):
        assert torch.equal(a, torch.nn.Linear(3, 2).weight)
    with seeding.torch_stream(1, "init"):
        assert not torch.equal(a, torch.nn.Linear(3, 2).weight)
