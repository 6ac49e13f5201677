"""Executors: where trials run. One file an executor."""
