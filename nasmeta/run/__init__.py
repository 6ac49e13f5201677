"""One search, with everything that it produces."""
