"""The results of a batch, a line a row."""
