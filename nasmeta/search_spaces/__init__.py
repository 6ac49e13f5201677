"""Search spaces: sets of architectures. One file a space; a space knows no dataset, learner or strategy."""
