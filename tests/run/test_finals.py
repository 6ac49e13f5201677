"""Who survives which round of the finals, and who is chosen. A function judges, so nothing is trained."""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import Interrupted, RunFailed
from nasmeta.run.composition import Composition
from nasmeta.run.finals import Finalist, Finals, choose, train_in_rounds
from nasmeta.run.rounds import Round, schedule, trainings
from nasmeta.run.search import propose_and_judge, train_in_full
from nasmeta.training import checkpoint
from nasmeta.trial import Job, TrialResult
from tests.cli.runs import TINY
from tests.run.events import result
from tests.run.test_trials import by_length, trials_of

REFERENCE = "fc40.relu.none_fc40.relu.none"
A, B, C, D, E = (f"fc{width}.relu.none" for width in (16, 24, 32, 48, 64))
FULL = 8
"""The iterations of a full training."""

Accuracy = Callable[[str, int, int], float | None]
"""(architecture, iterations, network) -> accuracy; None if the network fails."""


@pytest.fixture(scope="module")
def whole() -> Composition:
    return Composition.of(parse(composed(TINY), trusted=True))


def with_budget(whole: Composition, **budget: int) -> Composition:
    keys = whole.config.keys
    values = {"final_iterations": FULL, **budget}
    changed = keys.model_copy(update={"budget": keys.budget.model_copy(update=values)})
    return replace(whole, config=replace(whole.config, keys=changed))


def judging(accuracy: Accuracy, jobs: list[Job]) -> Callable[[Job], TrialResult]:
    """Judges by a table, and leaves a file for each training."""

    def judge(job: Job) -> TrialResult:
        jobs.append(job)
        job.weights.parent.mkdir(exist_ok=True)
        checkpoint.save(job.weights, {})
        value = accuracy(job.arch, job.iterations, job.network)
        return result(job.trial, value, arch=job.arch, iterations=job.iterations)

    return judge


def play(
    composition: Composition, path: Path, candidates: list[str], accuracy: Accuracy, competes: bool = True
) -> tuple[Finals, list[list[Job]]]:
    """The finals, and the jobs of each round."""
    jobs: list[Job] = []
    path.mkdir(exist_ok=True)
    with trials_of(composition, path, judging(accuracy, jobs)) as (trials, _, _):
        opponent, *others = train_in_rounds(trials, REFERENCE, candidates, {})
    finals = choose(opponent, others, competes=competes)
    lengths = sorted({job.iterations for job in jobs})
    return finals, [[job for job in jobs if job.iterations == length] for length in lengths]


def fixed(**accuracies: float | None) -> Accuracy:
    """Accuracies by name, whatever the iterations; those that are not named have 0.5."""
    named = {"A": A, "B": B, "C": C, "D": D, "E": E, "reference": REFERENCE}
    by_arch = {named[name]: value for name, value in accuracies.items()}
    return lambda arch, iterations, network: by_arch.get(arch, 0.5)


def archs(jobs: list[Job]) -> list[str]:
    return [job.arch for job in jobs]


@pytest.mark.parametrize(
    "candidates, rounds, expected",
    [
        (5, 1, [(5, 20, 3)]),
        (5, 2, [(5, 10, 1), (3, 20, 3)]),
        (5, 3, [(5, 5, 1), (3, 10, 1), (2, 20, 3)]),
        (5, 9, [(5, 3, 1), (3, 5, 1), (2, 10, 1), (1, 20, 3)]),
        (1, 3, [(1, 20, 3)]),
        (0, 3, [(0, 20, 3)]),
    ],
)
def test_the_schedule(candidates: int, rounds: int, expected: list[tuple[int, int, int]]) -> None:
    found = schedule(candidates, rounds=rounds, iterations=20, networks=3)
    assert found == [Round(*values) for values in expected]


@pytest.mark.parametrize("search_iterations, warned", [(1, False), (2, True), (8, True)])
def test_a_first_round_that_is_as_short_as_a_trial_is_warned_of(
    search_iterations: int, warned: bool, whole: Composition, caplog: pytest.LogCaptureFixture
) -> None:
    budget = {"search_iterations": search_iterations, "final_candidates": 3}
    with_budget(whole, final_rounds=3, **budget).log_notices()
    assert ("the first round of the finals trains for 2 meta-iterations" in caplog.text) == warned
    caplog.clear()
    with_budget(whole, final_rounds=1, **budget).log_notices()
    assert not caplog.text


def test_four_candidates_in_three_rounds_cost_what_two_in_one_do() -> None:
    four, two = (schedule(n, rounds=r, iterations=20, networks=1) for n, r in ((4, 3), (2, 1)))
    assert sum(trainings(four)) == sum(trainings(two)) == 3 * 20
    assert trainings(schedule(2, rounds=2, iterations=20, networks=2)) == [10] * 3 + [10, 20] * 2
    assert trainings(four, [5, 5, 20, 40]) == trainings(four)[2:-1], (
        "40: of before the budget grew or changed"
    )


def test_the_better_half_survives_each_round(whole: Composition, tmp_path: Path) -> None:
    accuracy = fixed(A=0.1, B=0.6, C=0.9, D=0.7, E=0.8)
    finals, rounds = play(with_budget(whole, final_rounds=3), tmp_path, [A, B, C, D, E], accuracy)
    assert [archs(jobs) for jobs in rounds] == [
        [REFERENCE, A, B, C, D, E],
        [REFERENCE, C, E, D],
        [REFERENCE, C, E],
    ]
    assert [jobs[0].iterations for jobs in rounds] == [2, 4, 8]
    assert finals.chosen.arch == C


def test_a_network_of_a_later_round_continues_its_own(whole: Composition, tmp_path: Path) -> None:
    finals, rounds = play(
        with_budget(whole, final_rounds=2, final_seeds=2), tmp_path, [A, B, C], fixed(B=0.9, C=0.8)
    )
    first, last = rounds
    own = {job.arch: job.weights for job in first}
    assert all(job.start is None for job in first)
    assert {(job.arch, job.network): job.start for job in last} == {
        **{(arch, 0): own[arch] for arch in (REFERENCE, B, C)},
        **{(arch, 1): None for arch in (REFERENCE, B, C)},
    }
    assert len({job.weights for job in first + last}) == len(first + last), "each has a file of its own"
    assert finals.chosen.network.train_seconds == 2.0, "of both rounds; 1.0 each"


def test_every_network_counts_the_trainings_that_it_continues(tmp_path: Path) -> None:
    constant = Composition.of(parse(composed([*TINY, "optimizer.schedule=constant"]), trusted=True))
    jobs: list[Job] = []
    for length in (4, FULL):
        composition = with_budget(constant, final_seeds=2, final_iterations=length)
        with trials_of(composition, tmp_path, judging(fixed(A=0.6), jobs)) as (trials, _, _):
            everyone = train_in_rounds(trials, REFERENCE, [A], {})
    assert [job.start is None for job in jobs] == [True] * 4 + [False] * 4
    assert [r.train_seconds for finalist in everyone for r in finalist.results] == [2.0] * 4


def test_the_mean_over_networks_decides_and_the_best_of_them_is_kept(
    whole: Composition, tmp_path: Path
) -> None:
    values = {A: (0.9, 0.3, 0.3), B: (0.6, 0.7, 0.5), REFERENCE: (0.5, 0.5, 0.5)}
    finals, _ = play(
        with_budget(whole, final_seeds=3), tmp_path, [A, B], lambda arch, _, network: values[arch][network]
    )
    assert (finals.chosen.arch, finals.chosen.score) == (B, pytest.approx(0.6))
    assert finals.chosen.network.valid_accuracy == 0.7


def test_an_architecture_of_which_every_network_learns_is_preferred(
    whole: Composition, tmp_path: Path
) -> None:
    values = {A: (0.9, None), B: (0.6, 0.6), REFERENCE: (None, None)}
    finals, _ = play(
        with_budget(whole, final_seeds=2), tmp_path, [A, B], lambda arch, _, network: values[arch][network]
    )
    assert finals.chosen.arch == B
    assert finals.reference.network.status == "failed"


@pytest.mark.parametrize(
    "accuracies, chosen",
    [
        ({"A": 0.6, "B": 0.6}, A),  # of equal candidates the better one of the search
        ({"A": 0.5, "B": 0.4}, REFERENCE),  # nothing is preferred to the reference
        ({"A": 0.4, "B": None}, REFERENCE),
        ({"A": None, "B": None}, REFERENCE),
        ({"A": None, "B": 0.1, "reference": None}, B),
        ({"A": 0.7, "B": 0.6, "reference": 0.9}, REFERENCE),
    ],
)
@pytest.mark.parametrize("rounds", [1, 2])
def test_who_is_chosen(
    accuracies: dict[str, Any], chosen: str, rounds: int, whole: Composition, tmp_path: Path
) -> None:
    finals, _ = play(with_budget(whole, final_rounds=rounds), tmp_path, [A, B], fixed(**accuracies))
    assert finals.chosen.arch == chosen
    assert (finals.chosen is finals.reference) == (chosen == REFERENCE)


def test_the_reference_takes_part_to_the_end(whole: Composition, tmp_path: Path) -> None:
    accuracy = fixed(A=0.6, B=0.7, C=0.8, reference=0.1)
    finals, rounds = play(with_budget(whole, final_rounds=3, final_seeds=2), tmp_path, [A, B, C], accuracy)
    assert [archs(jobs).count(REFERENCE) for jobs in rounds] == [1, 1, 2]
    assert finals.reference.results[0].iterations == FULL


def test_a_reference_that_fails_is_not_trained_further(whole: Composition, tmp_path: Path) -> None:
    _, rounds = play(with_budget(whole, final_rounds=2), tmp_path, [A, B], fixed(A=0.6, reference=None))
    assert [REFERENCE in archs(jobs) for jobs in rounds] == [True, False]


def test_the_strategys_own_choice_stands(whole: Composition, tmp_path: Path) -> None:
    finals, _ = play(whole, tmp_path, [A], fixed(A=0.1, reference=0.9), competes=False)
    assert finals.chosen.arch == A


@pytest.mark.parametrize("competes", [True, False])
def test_a_run_in_which_all_fail_has_no_result(competes: bool, whole: Composition, tmp_path: Path) -> None:
    accuracy = fixed(A=None, B=None, reference=None if competes else 0.9)
    with pytest.raises(RunFailed, match="Diverged; Diverged"):
        play(with_budget(whole, final_rounds=2), tmp_path, [A, B], accuracy, competes=competes)


def test_a_score_that_is_no_number_counts_as_failed() -> None:
    lost, other = Finalist("final", A), Finalist("final", B)
    lost.results = [result(0, math.nan), result(1, 0.9)]
    other.results = [result(0, 0.2), result(1, 0.2)]
    assert lost.score == 0.9
    assert other.rank > lost.rank


def oracle(accuracies: dict[str, list[float]], rounds: int) -> tuple[set[tuple[str, int]], str]:
    """Which (architecture, iterations) are trained, and who is chosen; by another formulation.

    accuracies: of the reference, and then of the candidates, by round.
    """
    reference, *left = accuracies
    number, halves = len(left), 0
    while halves < rounds - 1 and number > 1:
        number, halves = (number + 1) // 2, halves + 1
    trained = set()
    for turn in range(halves + 1):
        iterations = -(-FULL // 2 ** (halves - turn))
        trained |= {(arch, iterations) for arch in (reference, *left)}
        worst_first = sorted(left, key=lambda arch: (accuracies[arch][turn], -list(accuracies).index(arch)))
        if turn < halves:
            left = worst_first[len(left) // 2 :]
    best = worst_first[-1]
    return trained, best if accuracies[best][halves] > accuracies[reference][halves] else reference


@pytest.mark.parametrize("seed", range(12))
def test_by_an_oracle(seed: int, whole: Composition, tmp_path: Path) -> None:
    rng = random.Random(seed)
    candidates, rounds = [A, B, C, D, E][: rng.randint(1, 5)], rng.randint(1, 4)
    accuracies = {arch: [rng.random() for _ in range(4)] for arch in (REFERENCE, *candidates)}
    turns = {-(-FULL // 2**back): back for back in range(4)}
    composition = with_budget(whole, final_rounds=rounds)
    last = len(schedule(len(candidates), rounds=rounds, iterations=FULL, networks=1)) - 1
    finals, played = play(
        composition,
        tmp_path,
        candidates,
        lambda arch, iterations, _: accuracies[arch][last - turns[iterations]],
    )
    trained, chosen = oracle(accuracies, rounds)
    assert {(job.arch, job.iterations) for jobs in played for job in jobs} == trained
    assert finals.chosen.arch == chosen


@pytest.mark.parametrize("stop_after", range(9))
def test_stopped_in_any_round_and_resumed(stop_after: int, whole: Composition, tmp_path: Path) -> None:
    """With 2 rounds and 2 networks there are 3 + 2 * 2 trainings: every one is made once."""
    composition = with_budget(whole, final_rounds=2, final_seeds=2)
    accuracy = fixed(A=0.6, B=0.7)
    unbroken, rounds = play(composition, tmp_path / "unbroken", [A, B], accuracy)
    jobs: list[Job] = []
    (tmp_path / "run").mkdir()
    with trials_of(composition, tmp_path / "run", judging(accuracy, jobs)) as (trials, _, _):
        trials.stop = lambda: len(jobs) >= stop_after
        if stop_after < 7:
            with pytest.raises(Interrupted, match="stopped between two trainings"):
                train_in_rounds(trials, REFERENCE, [A, B], {})
    with trials_of(composition, tmp_path / "run", judging(accuracy, jobs)) as (trials, _, _):
        opponent, *others = train_in_rounds(trials, REFERENCE, [A, B], {})
    expected = [(job.phase, job.trial, job.arch, job.network) for part in rounds for job in part]
    assert [(job.phase, job.trial, job.arch, job.network) for job in jobs] == expected
    assert choose(opponent, others, competes=True).chosen == unbroken.chosen


def test_after_a_forced_change_no_result_counts_for_another_architecture(
    whole: Composition, tmp_path: Path
) -> None:
    jobs: list[Job] = []
    for candidates in ([A], [A, B]):
        composition = with_budget(whole, final_rounds=2, final_seeds=2)
        with trials_of(composition, tmp_path, judging(fixed(), jobs)) as (trials, _, _):
            _, *others = train_in_rounds(trials, REFERENCE, candidates, {})
    assert [r.arch for finalist in others for r in finalist.results] == [A, A, B]


def test_a_search_ends_with_its_best_trials_besides_the_reference(whole: Composition, tmp_path: Path) -> None:
    """The search's first trial is the reference, which is among its best and enters the finals once."""
    jobs: list[Job] = []

    def judge(job: Job) -> TrialResult:
        jobs.append(job)
        return by_length(job)

    composition = with_budget(whole, trials=4, final_candidates=2)
    with trials_of(composition, tmp_path, judge) as (trials, _, strategy):
        propose_and_judge(strategy, trials)
        searched = list(dict.fromkeys(job.arch for job in jobs))
        finals = train_in_full(strategy, trials)
    assert REFERENCE in searched
    last = [(job.phase, job.arch) for job in jobs if job.phase != "search"]
    others = sorted((arch for arch in searched if arch != REFERENCE), key=len, reverse=True)
    assert last == [("reference", REFERENCE), ("final", others[0]), ("final", others[1])]
    assert finals.chosen.arch == max(searched, key=len)
