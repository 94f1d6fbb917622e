"""The demo company: an AI inference and workflow platform, its customers, their usage, and the way to its invoices."""
