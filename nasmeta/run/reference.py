"""What a search has to beat: the hand-designed network, under the same limits, with settings of its own."""

from nasmeta import seeding
from nasmeta.evaluators.ranking import best_of
from nasmeta.run.trials import Trials
from nasmeta.search_spaces.joint import JointSpace, TunedArchitecture
from nasmeta.trial import Phase

DRAWS = 100
"""How often settings are drawn anew, at most, until they differ from all that were tried before."""


def opponent(trials: Trials, candidates: list[str]) -> str:
    """The reference to train in full, next to the `candidates` of the search.

    If `tune` names settings, those of the reference are searched as well: the configured ones, then random
    ones, at the budget of a candidate. It has budget.reference_trials trials, or as many as any of the
    candidates' architectures had, if these are more. Trials of the search that were the reference count too
    when the best is chosen, by validation.
    """
    space, reference = trials.composition.space, trials.constraints.reference()
    if not isinstance(space, JointSpace):
        return str(reference)
    searched = [(space.parse(result.arch).arch, result) for result in trials.state.searched]
    had = [sum(arch == space.parse(text).arch for arch, _ in searched) for text in candidates]
    number = max(trials.composition.config.keys.budget.reference_trials, *had)
    wanted: dict[tuple[Phase, int], str] = {
        ("tuning", trial): text for trial, text in enumerate(_tried(space, reference, number, trials))
    }
    results = trials.judge_all(wanted) + [result for arch, result in searched if arch == reference.arch]
    best = best_of(results)
    return str(reference) if best is None else best.arch


def _tried(space: JointSpace, reference: TunedArchitecture, number: int, trials: Trials) -> list[str]:
    """The reference with its configured settings, and with up to `number` - 1 different random ones."""
    rng = seeding.stream(trials.composition.config.keys.seed, "reference", "settings")
    tried = {str(reference): None}
    for _ in range(DRAWS * number):
        if len(tried) >= number:
            break
        tried[str(TunedArchitecture(reference.arch, space.draw(rng)))] = None
    return list(tried)
