"""One run: search, train the best few in full, choose one, test it once next to the reference.

`search` is all of it, in order. The journal decides what is already done. Resuming an interrupted run makes
the same calls again, and those that have finished return what the journal holds.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from nasmeta.errors import Interrupted, NothingFeasible, RunFailed
from nasmeta.evaluators.ranking import best_of, ranked
from nasmeta.run import ending
from nasmeta.run.composition import Composition
from nasmeta.run.directory import RunDirectory
from nasmeta.run.events import Observer, RunFinished
from nasmeta.run.journal import Journal
from nasmeta.run.recorder import Recorder
from nasmeta.run.records import Asked, Searched
from nasmeta.run.reference import opponent
from nasmeta.run.state import RunState
from nasmeta.run.trials import Trials
from nasmeta.runtime import files
from nasmeta.runtime.command_lines import SearchCommand
from nasmeta.strategies.base import Strategy
from nasmeta.strategies.progress_file import ProgressFile
from nasmeta.training.score import Stop
from nasmeta.trial import Phase, Proposal, TrialResult


def search(
    composition: Composition,
    directory: RunDirectory,
    journal: Journal,
    observers: Sequence[Observer],
    stop: Stop,
    command: SearchCommand | None = None,
) -> dict[str, Any]:
    """Searches, trains the best few in full, chooses one on validation, and tests it once.

    directory: where the run writes; the caller holds its lock. journal: that of the directory, open.
    observers: called with every event. stop: whether to stop. command: what makes the run, if that is known.

    Returns what summary.json holds. Raises Interrupted once everything is saved if `stop` says so, and
    RunFailed if there is no result.
    """
    judges = composition.judges
    judges.load()
    journal.durable = judges.search.trains_networks()
    state = RunState.replay(journal.events, composition.objectives)
    recorder = Recorder(composition, directory, journal, state, observers, command)
    files.make_folder(directory.checkpoints, inside=directory.path)
    if state.front is not None:
        files.make_folder(directory.pareto, inside=directory.path)
    with closing(Trials(composition, judges, directory, recorder, stop)) as trials:
        recorder.announce_start(judges.problem if judges.search.trains_networks() else None)
        strategy = _strategy(trials, journal)
        propose_and_judge(strategy, trials)
        reference, *finals = train_in_full(strategy, trials)
    chosen = best_of(finals)
    if chosen is None:
        raise RunFailed("every final candidate failed: " + "; ".join(str(r.reason) for r in finals))
    summary = ending.test_once(trials, chosen, reference).model_dump()
    trials.weights.forget_all()
    recorder.announce(RunFinished(summary, composition.config.hparams()))
    return summary


def propose_and_judge(strategy: Strategy, trials: Trials) -> None:
    """The search phase: the loop of asks and tells, from wherever the journal has left it."""
    state, weights = trials.state, trials.weights
    while True:
        if state.hopeless:
            raise RunFailed(state.hopeless)
        while trials.has_room:
            proposal = trials.waiting.pop(0) if trials.waiting else _ask(strategy, trials)
            if proposal is None:
                break
            trials.start(proposal)
        if not trials.in_flight:
            break
        strategy.tell(trials.outcome(trials.next_result()))
        weights.forget_unneeded(strategy.needed())
    if trials.stop():
        raise Interrupted("stopped between two trials")
    weights.final_starts = strategy.final_starts()
    weights.forget_unneeded(weights.final_starts)
    if state.best is None and not strategy.chosen():
        raise RunFailed(state.all_failed)
    if not state.has_searched:
        trials.recorder.record(Searched(elapsed=trials.recorder.elapsed))


def _ask(strategy: Strategy, trials: Trials) -> Proposal | None:
    """The next proposal, recorded; None if there is none now, or the search phase is over."""
    limit, state = trials.composition.config.keys.budget.max_seconds, trials.state
    late = limit is not None and trials.clock >= limit
    if strategy.done() or state.has_searched or (late and state.best is not None):
        return None
    try:
        proposal = strategy.ask()
    except NothingFeasible as error:
        raise RunFailed(f"search_space: {error}: {trials.constraints.reasons()}") from error
    if proposal is not None:
        trials.recorder.record(Asked.of(proposal))
    return proposal


def train_in_full(strategy: Strategy, trials: Trials) -> list[TrialResult]:
    """The results of the reference and then the candidates at the full budget.

    Those that the journal has are not trained again. A candidate that is the reference takes its result.
    """
    candidates = _candidates(strategy, trials)
    reference = opponent(trials, candidates)
    trials.weights.shared = reference if trials.judges.final.leaves_weights else None
    wanted: dict[tuple[Phase, int], str] = {("reference", 0): reference}
    wanted |= {("final", trial): arch for trial, arch in enumerate(candidates)}
    same = {key for key, arch in wanted.items() if key[0] == "final" and arch == trials.weights.shared}
    trained, *_ = trials.judge_all({key: arch for key, arch in wanted.items() if key not in same})
    for phase, trial in sorted(same - trials.state.finished.keys()):
        trials.finish(phase, replace(trained, trial=trial), trained_as="reference")
    return [trials.state.finished[key] for key in wanted]


def _candidates(strategy: Strategy, trials: Trials) -> list[str]:
    """The architectures that the strategy has chosen, then the best ones, best first; each once."""
    best = [result.arch for result in ranked(sorted(trials.state.searched, key=lambda r: r.trial))]
    distinct = list(dict.fromkeys([*map(str, strategy.chosen()), *best]))
    return distinct[: trials.composition.config.keys.budget.final_candidates]


def _strategy(trials: Trials, journal: Journal) -> Strategy:
    """The strategy, as the journal's asks and tells have left it."""
    composition, limits = trials.composition, trials.constraints
    progress_file = ProgressFile(
        trials.directory.strategy, seconds=composition.config.keys.save_seconds, stop=trials.stop
    )
    strategy = composition.strategy(limits.feasible, trials.judges.problem, progress_file, costs=limits.cost)
    trials.replay(strategy, journal)
    return strategy
