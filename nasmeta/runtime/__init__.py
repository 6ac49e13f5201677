"""The process and the machine that a command runs on."""
