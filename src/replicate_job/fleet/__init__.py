"""Many machines on one journal: a batch's rows are created, watched and collected by whichever process is free."""
