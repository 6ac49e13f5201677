"""Search spaces: sets of architectures. A space knows no dataset, learner or strategy."""
