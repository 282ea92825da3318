"""The report of a batch, a page of HTML."""
