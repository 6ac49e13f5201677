"""Contract tests that every plug-in must pass, and the toy problems that they need."""
