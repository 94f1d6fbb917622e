"""Text from outside: what PostgreSQL and a digest can hold."""


def is_storable(text: str) -> bool:
    """Say whether a text is Unicode that can be stored: no NUL and no half of a surrogate pair, which JSON can write."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
