"""From the words of a command to checked values. Builds nothing."""
