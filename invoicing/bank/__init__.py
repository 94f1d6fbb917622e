"""The bank: statements as they were imported, what each of their lines is, and customers' money that is on account."""
