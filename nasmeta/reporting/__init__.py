"""Observers and reports: they read results and never change them."""
