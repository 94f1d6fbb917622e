"""The file of a seller's logo: refused with the reason where it cannot be printed."""

from functools import cache
from pathlib import Path
from typing import Final

import typst

from billing_site.kernel.errors import InvalidInput

# It stands in every document: a larger one would be most of its bytes.
SIZE_MAX: Final = 64 * 1024
FORMATS: Final = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff"}


@cache
def read_logo(*, path: str) -> bytes:
    """Read the logo that the settings name, once a process; raises InvalidInput that says what is wrong with the file."""
    try:
        content = Path(path).read_bytes()
    except OSError as problem:
        raise InvalidInput(f"{path} cannot be read: {problem.strerror}", code="unreadable") from problem
    try:
        check_logo(content=content)
    except InvalidInput as problem:
        raise InvalidInput(f"{path} {problem.message}", code=problem.code) from problem
    return content


def check_logo(*, content: bytes) -> None:
    """Raise InvalidInput that says why a picture cannot be printed as a logo."""
    if len(content) > SIZE_MAX:
        raise InvalidInput(f"has {len(content)} bytes; at most {SIZE_MAX} are printed", code="too_large")
    if not content.startswith(tuple(FORMATS.values())):
        raise InvalidInput(f"is no {' or '.join(FORMATS)} file", code="unknown_format")
    try:
        typst.compile(
            b"#image(bytes(json(bytes(sys.inputs.logo))))",
            format="pdf",
            sys_inputs={"logo": str(list(content))},
            ignore_system_fonts=True,
        )
    except typst.TypstError as problem:
        raise InvalidInput(f"cannot be drawn: {problem}", code="undrawable") from problem
