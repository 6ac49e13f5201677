"""What a search has to beat: the hand-designed network, under the same limits, with settings of its own.

It is trained in full next to the best candidates, and competes with them.
"""

from nasmeta import seeding
from nasmeta.run.ranking import best_of, ranked
from nasmeta.run.trials import Trials
from nasmeta.run.weights import TrialPlan
from nasmeta.search_spaces.joint import JointSpace, TunedArchitecture
from nasmeta.trial import TrialResult

DRAWS = 100
"""How often settings are drawn anew, at most, until they differ from all that were tried before."""


def entrants(trials: Trials, decided: list[str]) -> tuple[str, list[str]]:
    """The reference and the candidates that enter the finals, best first; each architecture once.

    decided: what the strategy has chosen itself, which no trial competes with. The best of the reference's
    settings stand for all that the search tried with its architecture.
    """
    if decided:
        reference = opponent(trials, decided)
        return reference, [arch for arch in decided if arch != reference]
    space, number = trials.composition.space, trials.composition.config.keys.budget.final_candidates

    def network(arch: str) -> str:
        return str(space.parse(arch).arch) if isinstance(space, JointSpace) else arch

    own = network(str(trials.constraints.reference))
    best = [result.arch for result in ranked(sorted(_tried(trials), key=lambda r: r.trial))]
    candidates = [arch for arch in dict.fromkeys(best) if network(arch) != own][:number]
    return opponent(trials, candidates), candidates


def _tried(trials: Trials) -> list[TrialResult]:
    """The trials of the search, and those of earlier runs whose architectures meet the limits of this one."""
    space, state, feasible = trials.composition.space, trials.state, trials.constraints.feasible
    earlier = [result for result in state.earlier if feasible(space.parse(result.arch))]
    return [*earlier, *state.searched]


def opponent(trials: Trials, candidates: list[str]) -> str:
    """The reference to train in full, next to the `candidates` of the search.

    If `tune` names settings, those of the reference are searched as well: the configured ones, then random
    ones, at the budget of a candidate. It has budget.reference_trials trials, or as many as any of the
    candidates' architectures had, if these are more. Trials of the search, and of earlier runs, that were the
    reference count too when the best is chosen, by validation.
    """
    space, reference = trials.composition.space, trials.constraints.reference
    if not isinstance(space, JointSpace):
        return str(reference)
    tried = [(space.parse(result.arch).arch, result) for result in _tried(trials)]
    had = [sum(arch == space.parse(text).arch for arch, _ in tried) for text in candidates]
    budget = trials.composition.config.keys.budget
    settings = _settings(space, reference, max([budget.reference_trials, *had]), trials)
    plans = [
        TrialPlan("tuning", trial, text, budget.search_iterations) for trial, text in enumerate(settings)
    ]
    results = trials.judge_all(plans) + [result for arch, result in tried if arch == reference.arch]
    best = best_of(results)
    return str(reference) if best is None else best.arch


def _settings(space: JointSpace, reference: TunedArchitecture, number: int, trials: Trials) -> list[str]:
    """The reference with its configured settings, and with up to `number` - 1 different random ones."""
    rng = seeding.stream(trials.composition.config.keys.seed, "reference", "settings")
    tried = {str(reference): None}
    for _ in range(DRAWS * number):
        if len(tried) >= number:
            break
        tried[str(TunedArchitecture(reference.arch, space.draw(rng)))] = None
    return list(tried)
