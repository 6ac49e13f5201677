"""What a checkpoint is for: labels, tests, exports, controls."""
