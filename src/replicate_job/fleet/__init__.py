"""A fleet: many machines share one journal, and any free worker creates, watches and collects a batch's rows.

Importing it raises JournalError if the extra's packages are not installed.
"""

from replicate_job.journal.open import check_installed

check_installed("a fleet")
