"""How every page for staff writes the same thing the same way; knows the kernel only."""
