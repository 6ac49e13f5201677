"""Contract suites that every plug-in is put through, and small problems with known answers."""
