"""Networks: how they are called, executed and measured. Nothing here depends on a meta-learner."""
