"""What terms make of a bill: one file a family."""
