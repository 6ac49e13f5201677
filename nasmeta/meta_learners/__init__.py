"""Meta-learners: how parameters are meta-trained over tasks and adapt to one. One file per algorithm."""
