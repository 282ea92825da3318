"""Many jobs: rows of a file, run within the account's limit."""
