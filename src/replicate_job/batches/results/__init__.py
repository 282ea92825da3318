"""The results of a batch, one line for each row."""
