"""Strategies decide which architecture to try next, through ask and tell. One file per strategy."""
