"""Many machines on one journal: a batch's rows are created, watched and collected by whichever process is free.

Importing any of it raises JournalError where the extra's packages are not installed.
"""

from replicate_job.journal.open import check_installed

check_installed("a fleet")
