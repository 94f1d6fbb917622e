"""How Django writes dates and numbers in forms and lists, by language."""
