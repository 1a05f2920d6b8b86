"""What takes longer than a change can wait for: ``make test-long``."""
