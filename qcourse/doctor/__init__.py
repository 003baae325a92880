"""What this machine can run, what it lacks, and the command that mends each lack."""
