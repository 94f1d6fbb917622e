"""What was given up of issued invoices, and what was recovered of that."""
