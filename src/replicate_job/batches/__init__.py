"""Batches: a job for each row of a file, run within the account's rate limit."""
