"""How a network is called, and how fast. Knows no learner."""
