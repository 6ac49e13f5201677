"""What run directories hold, as plain values."""
