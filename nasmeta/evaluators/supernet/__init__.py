"""Candidates judged by weights that they inherit from one meta-learned set of them."""
