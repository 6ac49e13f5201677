"""Augmentations: random changes of the images of meta-training episodes. Each has its own file."""
