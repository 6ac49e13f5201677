"""What can be done with a checkpoint: predict labels, meta-test, export, and run controls."""
