"""The catalog file as people write it, JSON or YAML: numbers exactly as they read, no member twice."""

import json
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from billing_site.kernel.errors import Malformed

PLAIN_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)")


class CatalogFileUnreadable(Malformed):
    """The file is not there, not text, or not valid JSON or YAML."""

    code = "unreadable"


def read_catalog_file(*, path: Path) -> Any:
    """Return the document of a file, whose numbers are ints, Decimals or the text as it stands; never a float.

    Raises CatalogFileUnreadable with the reason.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise CatalogFileUnreadable(f"{path} cannot be read: {problem}") from problem
    return read_catalog_text(text=text, name=str(path))


def read_catalog_text(*, text: str, name: str) -> Any:
    """Return the document of a file's text as `read_catalog_file` does; how the name ends says whether it is JSON or YAML."""
    kind = "JSON" if name.lower().endswith(".json") else "YAML"
    try:
        if kind == "JSON":
            return json.loads(text, parse_float=Decimal, object_pairs_hook=_without_repetition)
        return yaml.load(text, Loader=_ExactLoader)  # noqa: S506 - a SafeLoader without floats
    except RecursionError as problem:
        raise CatalogFileUnreadable(f"{name} is nested too deeply") from problem
    except (ValueError, TypeError, yaml.YAMLError, ArithmeticError) as problem:
        raise CatalogFileUnreadable(f"{name} is not valid {kind}: {problem}") from problem


def _without_repetition(members: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, value in members:
        if name in document:
            raise ValueError(f"the member {name!r} is there twice")
        document[name] = value
    return document


class _ExactLoader(yaml.SafeLoader):
    """YAML as a person reads it: 0.10 is a Decimal; 010 and 1:30 are neither octal nor sixtieths."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Return a mapping as it is written, before << merges; refuse a member twice: YAML would keep the last."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        written = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for name, number_of in written.items():
            if number_of > 1:
                message = f"the member {name!r} is there twice"
                raise yaml.composer.ComposerError(None, None, message, node.start_mark)
        return node

    def exact_integer(self, node: yaml.ScalarNode) -> int | str:
        """Return an integer where it reads as one; else the text, so that the reader of the catalog judges it."""
        text = str(node.value)
        return int(text.replace("_", "")) if PLAIN_INTEGER.fullmatch(text) else text

    def exact_decimal(self, node: yaml.ScalarNode) -> Decimal:
        """Return the number with all its digits."""
        return Decimal(str(node.value).replace("_", ""))


_ExactLoader.add_constructor("tag:yaml.org,2002:int", _ExactLoader.exact_integer)
_ExactLoader.add_constructor("tag:yaml.org,2002:float", _ExactLoader.exact_decimal)
