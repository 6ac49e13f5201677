"""The strategy of a run, as its journal has left it: what it was asked and told is repeated."""

import logging

from nasmeta.errors import RunDirectoryError
from nasmeta.run.journal import Journal
from nasmeta.run.outputs import keep_front
from nasmeta.run.records import Asked, Finished, Retried, Started
from nasmeta.run.trials import Trials
from nasmeta.strategies.base import Strategy
from nasmeta.strategies.progress_file import ProgressFile

log = logging.getLogger(__name__)


def replayed(trials: Trials) -> Strategy:
    """A new strategy that has repeated the journal. Trials still in flight are `waiting` to be started.

    Raises RunDirectoryError if the journal is not what the strategy proposes.
    """
    composition, limits, state = trials.composition, trials.constraints, trials.state
    progress_file = ProgressFile(
        trials.directory.strategy, seconds=composition.config.keys.save_seconds, stop=trials.stop
    )
    strategy = composition.strategy(
        limits.feasible, progress_file, costs=limits.cost, trials=state.first_trials
    )
    if trials.executor.capacity > 1 and composition.measures_latency:
        log.warning(
            "latencies are measured while other trials run: longer and noisier than with executor=serial"
        )
    if not strategy.black_box:  # repeating its asks may train
        trials.recorder.start()
    if state.earlier:
        strategy.warm_start([trials.outcome(result) for result in state.earlier])
    trials.waiting = _repeat(strategy, trials, trials.recorder.journal)
    trials.weights.forget_unneeded(strategy.needed())
    if state.front is not None:
        keep_front(trials.directory, state.front.trials)
    if "budget.trials" in trials.recorder.session.added and strategy.extended_how:
        log.warning(
            "budget.trials: %s, so the results are not those of a run that began with as many",
            strategy.extended_how,
        )
    return strategy


def _repeat(strategy: Strategy, trials: Trials, journal: Journal) -> list[Asked]:
    """Repeats the journal with the strategy; returns what it has proposed and was not told of."""
    asked: dict[int, Asked] = {}
    told, again = set[int](), set[int]()
    for event in journal.events:
        match event:
            case Asked():
                proposal = strategy.ask()
                now = proposal and Asked.of(proposal)
                if now != event:
                    raise RunDirectoryError(
                        f"{journal.path}: it has {event!r}, the strategy now proposes {now!r}: "
                        "the code or the configuration has changed; start a new run"
                    )
                asked[event.trial] = event
            case Finished(phase="search", result=result) if result.trial in again:
                again.remove(result.trial)  # the strategy was told that it had failed
            case Finished(phase="search", result=result):
                if asked.pop(result.trial, None) is None:
                    raise RunDirectoryError(
                        f"{journal.path}: trial {result.trial} ends but was never asked for; start a new run"
                    )
                strategy.tell(trials.outcome(result))
                told.add(result.trial)
            case Retried():
                again |= set(event.trials.get("search", []))
                if not again <= told:
                    raise RunDirectoryError(
                        f"{journal.path}: {event!r}: a trial that has not failed; start a new run"
                    )
            case Started() if "budget.trials" in event.added:
                strategy.extend(int(event.added["budget.trials"][1] or 0))
    return list(asked.values())
