"""Datasets: where tasks come from. One file a dataset; the classes of the three splits are disjoint."""
