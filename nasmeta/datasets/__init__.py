"""Datasets, from which tasks are drawn. Each has its own file, and its three splits share no class."""
