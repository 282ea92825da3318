"""Chains: the jobs of their steps, one after the other, alone and as rows of a batch."""
