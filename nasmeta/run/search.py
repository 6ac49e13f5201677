"""One run: search, train the best few in full, choose one on validation, test it once next to the reference.

`search` is all of it, in order. The journal decides what is already done. Resuming an interrupted run makes
the same calls again, and those that have finished return what the journal holds.
"""

from contextlib import closing
from typing import Any

from nasmeta.errors import Interrupted, NothingFeasible, RunFailed, RunPruned
from nasmeta.run import ending, outputs, records
from nasmeta.run.composition import Composition
from nasmeta.run.events import RunFinished
from nasmeta.run.finals import Finals, choose, train_in_rounds
from nasmeta.run.history import warm_start
from nasmeta.run.manifest import numbers_of
from nasmeta.run.pruning import Prune
from nasmeta.run.recorder import Recorder
from nasmeta.run.records import Asked, Searched
from nasmeta.run.reference import entrants
from nasmeta.run.replay import replayed
from nasmeta.run.state import RunState
from nasmeta.run.trials import Trials
from nasmeta.run.weights import TrialPlan, tidy
from nasmeta.runtime import files
from nasmeta.strategies.base import Strategy
from nasmeta.training.score import Stop


def search(
    composition: Composition,
    recorder: Recorder,
    stop: Stop,
    prune: Prune | None = None,
    *,
    retry_failed: bool = False,
) -> dict[str, Any]:
    """Searches, trains the best few in full, chooses one on validation, and tests it once.

    recorder: writes down what happens, in the run's directory, whose lock the caller holds. stop: whether to
    stop. prune: asked after each trial whether to end the run early. retry_failed: whether failed trials are
    tried again.

    Returns what summary.json holds. Raises Interrupted once everything is saved if `stop` says so, RunPruned
    if `prune` does, and RunFailed if there is no result.
    """
    evaluators, state, directory = composition.evaluators, recorder.state, recorder.directory
    evaluators.load()
    recorder.journal.durable = composition.trains_networks
    files.make_folder(directory.checkpoints, inside=directory.path)
    if state.front is not None:
        files.make_folder(directory.pareto, inside=directory.path)
    with closing(Trials(composition, evaluators, recorder, stop)) as trials:
        if retry_failed and state.failed:
            recorder.record(records.Retried(trials=state.failed))
        recorder.announce_start()
        warm_start(composition.config.keys.history, recorder, composition.objectives)
        if state.tested is None and state.ends:
            outputs.keep_earlier(directory, state.ends)
        strategy = replayed(trials)
        propose_and_judge(strategy, trials, prune)
        finals = train_in_full(strategy, trials)
    summary = ending.test_once(trials, finals).model_dump()
    tidy(directory, state)
    recorder.announce(RunFinished(summary, composition.config.hparams()))
    return summary


def propose_and_judge(strategy: Strategy, trials: Trials, prune: Prune | None = None) -> None:
    """The search phase: the loop of asks and tells, from wherever the journal has left it."""
    state, weights = trials.state, trials.weights
    again = [state.asked[trial] for phase, trial in sorted(state.retries) if phase == "search"]
    trials.judge_all([TrialPlan.of(asked) for asked in again])
    while True:
        if state.hopeless:
            raise RunFailed(state.hopeless)
        if prune is not None and prune(state.searched):
            trials.recorder.record(records.Pruned(elapsed=trials.recorder.elapsed))
            raise _pruned(state)
        while trials.has_room:
            asked = trials.waiting.pop(0) if trials.waiting else _ask(strategy, trials)
            if asked is None:
                break
            trials.start(TrialPlan.of(asked))
        if not trials.in_flight:
            break
        strategy.tell(trials.outcome(trials.next_result()))
        weights.forget_unneeded(strategy.needed())
    if trials.stop():
        raise Interrupted("stopped between two trials")
    weights.forget_unneeded(strategy.final_starts())
    if state.best is None and not strategy.chosen():
        raise RunFailed(state.all_failed)
    if not state.has_searched:
        trials.recorder.record(Searched(elapsed=trials.recorder.elapsed))


def _pruned(state: RunState) -> RunPruned:
    """What ends a run that the study of its sweep prunes; there is a best trial, which it was told of."""
    best = state.best
    assert best is not None
    assert best.score is not None
    return RunPruned(
        f"pruned after trial {state.searched[-1].trial}, with a best score of {best.score:g}",
        numbers_of(vars(best), best.score),
    )


def _ask(strategy: Strategy, trials: Trials) -> Asked | None:
    """The next proposal as it is recorded.

    None if there is none now, if the search phase is over, or if the run has to stop.
    """
    limit, state = trials.composition.config.keys.budget.max_seconds, trials.state
    late = limit is not None and trials.clock >= limit
    if state.has_searched or (late and state.best is not None):
        return None
    try:
        proposal = None if strategy.done() else strategy.ask()
    except NothingFeasible as error:
        raise RunFailed(f"search_space: {error}: {trials.constraints.reasons()}") from error
    except Interrupted:
        if trials.in_flight:  # these are saved first
            return None
        raise
    if proposal is None:
        return None
    asked = Asked.of(proposal)
    trials.recorder.record(asked)
    return asked


def train_in_full(strategy: Strategy, trials: Trials) -> Finals:
    """The finals: the best candidates and the reference are trained in full, and one of them is chosen.

    The reference is chosen if validation prefers it and it meets the limits, unless the strategy itself has
    decided what to choose.
    """
    decided = [str(arch) for arch in strategy.chosen()]
    reference, candidates = entrants(trials, decided)
    starts = {trials.state.finished["search", trial].arch: trial for trial in strategy.final_starts()}
    opponent, *others = train_in_rounds(trials, reference, candidates, starts)
    competes = reference in decided if decided else trials.constraints.reference_fits
    return choose(opponent, others, competes=competes)
