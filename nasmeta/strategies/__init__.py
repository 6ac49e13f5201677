"""Strategies: which architecture to look at next, by ask and tell. One file a strategy."""
