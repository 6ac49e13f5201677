"""Executors, which decide where trials run. One file per executor."""
