"""Bank statements as text: read, checked and told apart, without a database."""
