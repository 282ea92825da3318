"""Chains: the jobs of a chain's steps, run for one input or for each row of a batch."""
