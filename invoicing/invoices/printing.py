"""Print what a document says: the content that a template places in, a PDF/A-3b out, the same bytes every time."""

import json
import re
import threading
from datetime import UTC, date, datetime, time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import noto_cjk_sans_jp_regular  # type: ignore[import-untyped]
import typst

from billing_site.kernel.digest import digest_of
from invoicing.invoices.factur_x import declare_factur_x
from invoicing.invoices.printed_text import UNDRAWABLE

TEMPLATE: Final = Path(__file__).resolve().parents[2] / "templates" / "invoice" / "invoice.typ"
# Whatever changes the bytes without changing the template belongs into the ETag.
PRINTED_BY: Final = ("typst", "noto-cjk-sans-jp-regular", "pypdf")
PDF_STANDARD: Final = "a-3b"


def print_pdf(*, content: dict[str, Any], logo: bytes = b"", template: Path = TEMPLATE) -> bytes:
    """Print a content, every text of it final, `dated` on its day, with the picture that it names by its digest; characters that no bundled font can draw come out as □."""
    while True:
        try:
            return _compile(content, logo, template)
        except typst.TypstError as error:
            missing = _undrawable_clusters(error)
            cleaned = _without(content, missing)
            if cleaned == content:
                raise
            content = cleaned


def content_etag(*, content: dict[str, Any]) -> str:
    """Return 64 hexadecimal digits that change whenever the printed bytes would."""
    return digest_of({"content": content, "printer": _printer()})


def _undrawable_clusters(error: typst.TypstError) -> frozenset[str]:
    """Return the characters (with their marks) that the compiler says no font can draw; empty for any other error.

    Plain ASCII is never among them: it may be reported beside a foreign character, and it stands in every figure.
    """
    found: set[str] = set()
    for quoted in re.findall(r'the text `"(.+?)"` could not be displayed', error.diagnostic):
        cluster = re.sub(r"\\u\{([0-9a-f]+)\}", lambda match: chr(int(match[1], 16)), quoted)
        if not cluster.isascii():
            found.add(cluster)
    return frozenset(found)


def _without(content: Any, missing: frozenset[str]) -> Any:
    """Return the content with every missing cluster replaced in every text."""
    if isinstance(content, str):
        for cluster in sorted(missing, key=lambda cluster: (-len(cluster), cluster)):
            content = content.replace(cluster, UNDRAWABLE)
        return content
    if isinstance(content, list):
        return [_without(member, missing) for member in content]
    if isinstance(content, dict):
        return {key: _without(member, missing) for key, member in content.items()}
    return content


_compiling = threading.Lock()


def _compile(content: dict[str, Any], logo: bytes, template: Path) -> bytes:
    """Compile the template with the content; one at a time, for the process has one compiler with one set of inputs."""
    dated = datetime.combine(date(*content["dated"]), time(), UTC)
    with _compiling:
        pdf = _compiler(template).compile(
            format="pdf",
            sys_inputs={"document": json.dumps(content, ensure_ascii=False), "logo": str(list(logo))},
            pdf_standards=PDF_STANDARD,
            timestamp=dated,
        )
    assert isinstance(pdf, bytes), "a PDF is one file"
    return declare_factur_x(pdf=pdf) if content.get("e_invoice") else pdf


@cache
def _compiler(template: Path) -> typst.Compiler:
    """Return the process's compiler of a template; only fonts that come with pinned wheels, so that every machine prints the same."""
    font_folder = Path(noto_cjk_sans_jp_regular.__file__).parent
    return typst.Compiler(
        input=template,
        root=template.parent,
        font_paths=typst.Fonts(include_system_fonts=False, font_paths=[font_folder]),
        ignore_system_fonts=True,
    )


@cache
def _printer() -> dict[str, str]:
    """Return what, besides the content, decides about the bytes: template, standard, engine and fonts."""
    versions = {name: metadata.version(name) for name in PRINTED_BY}
    return {**versions, "standard": PDF_STANDARD, "template": digest_of(TEMPLATE.read_text(encoding="utf-8"))}
