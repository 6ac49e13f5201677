"""Turns the words of a command into a checked configuration."""
