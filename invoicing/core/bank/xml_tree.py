"""XML read safely: a tree of local names with the line of each element; no document type, no entities, nothing fetched."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from invoicing.core.bank.statement import StatementFault

DEPTH_MAX = 60
# What 50,000 lines need; each takes some 400 bytes of memory while it is read.
ELEMENTS_MAX = 800_000


@dataclass
class Element:
    """An element by its local name, whatever version of the standard its namespace is."""

    name: str
    line: int
    attributes: dict[str, str]
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def each(self, name: str) -> Iterator["Element"]:
        """Yield the children of a name."""
        return (child for child in self.children if child.name == name)

    def find(self, *path: str) -> "Element | None":
        """Return the first element down a path of names, or None."""
        here: Element | None = self
        for name in path:
            here = next(here.each(name), None) if here is not None else None
        return here

    def text_of(self, *path: str) -> str:
        """Return the text down a path of names, "" where there is none."""
        found = self.find(*path)
        return "" if found is None else found.text.strip()


def read_tree(*, content: bytes) -> Element:
    """Return the root of an XML document; raises StatementFault naming the line.

    A document type is refused before anything in it is read: statements have none, and entities live there.
    """
    root = Element("", 0, {})
    stack, count = [root], 0
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True

    def started(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if len(stack) > DEPTH_MAX or count > ELEMENTS_MAX:
            raise StatementFault("is deeper or larger than a bank statement", place=f"line {parser.CurrentLineNumber}")
        element = Element(name.rpartition("}")[2], parser.CurrentLineNumber, attributes)
        stack[-1].children.append(element)
        stack.append(element)

    def refuse(*_: object) -> None:
        message = "a document type or an entity is declared: a bank statement has none, export it again"
        raise StatementFault(message, place=f"line {parser.CurrentLineNumber}")

    def said(text: str) -> None:
        stack[-1].text += text

    parser.StartElementHandler = started
    parser.EndElementHandler = lambda name: stack.pop()
    parser.CharacterDataHandler = said
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        message = f"this is no XML ({expat.ErrorString(error.code)}): export the statement again as CAMT.053"
        raise StatementFault(message, place=f"line {error.lineno}") from None
    except (LookupError, ValueError):
        # Its first line says in which letters it is written: a name that there is not, or one that expat cannot read.
        message = "it is written in letters that cannot be read: export the statement again in UTF-8"
        raise StatementFault(message, place="line 1") from None
    return root.children[0]
