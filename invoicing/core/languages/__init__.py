"""Languages of documents: what is printed is said in English phrases, and each other language has its own word for each of them.

A catalogue is a plain dictionary, so that the core stays pure and the same document is the same for ever, whatever locale a process runs in; figures and days are
written here, for nothing may be rounded or change with somebody else's release. To add a language, add its file and its line in `LANGUAGES`; tests name what is missing.
"""

from invoicing.core.languages.german import GERMAN
from invoicing.core.languages.language import ENGLISH, Language

LANGUAGES: dict[str, Language] = {language.code: language for language in (ENGLISH, GERMAN)}


def language_of(*, code: str) -> Language:
    """Return a language by its code (ISO 639-1)."""
    return LANGUAGES[code]


__all__ = ["ENGLISH", "GERMAN", "LANGUAGES", "Language", "language_of"]
