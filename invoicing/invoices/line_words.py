"""The words of stored lines in the language of their document: lines are stored in English, and rated again for any other."""

from collections.abc import Iterable, Mapping
from typing import Any

from invoicing.core.languages import ENGLISH, Language
from invoicing.core.proof import UnknownEngine, rated_again
from invoicing.invoices.models import InvoiceLine

# Of a line: `description`, `explanation` and `steps`, each with its `text`.
LineWords = Mapping[str, Any]


def words_of_lines(*, lines: Iterable[InvoiceLine], language: Language) -> dict[int, LineWords]:
    """Return the words of each line, by its id; a line of another engine keeps those that are stored."""
    return {line.pk: _words(line, language) for line in lines}


def _words(line: InvoiceLine, language: Language) -> LineWords:
    stored: LineWords = {**line.rated, "description": line.description}
    if language is ENGLISH:
        return stored
    try:
        told = rated_again(line.rated["inputs"], language=language)
    except UnknownEngine:
        return stored
    if (told["amount"], len(told["steps"])) != (line.rated["amount"], len(line.rated["steps"])):
        # What was issued is printed, whatever it would come to today: `verify` is who tells that.
        return stored
    return told
