"""Contract tests that every plug-in must pass, and small problems with known answers."""
