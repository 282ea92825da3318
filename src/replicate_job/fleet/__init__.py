"""A fleet: many machines share one journal, and any free worker creates, watches and collects a batch's rows.

Importing this package raises JournalError if the packages of the extra ``fleet`` are not installed.
"""

from replicate_job.journal.open import check_installed

check_installed("a fleet")
