"""Trackers: observers that show a run in a tool for experiments. One file each, chosen by `logger=NAME`."""
