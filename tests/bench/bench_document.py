"""Print what a PDF costs, beside the floor: an empty typst document rendered in the same run.

Run with `python -m tests.bench.bench_document`.
"""

import time
from collections.abc import Callable

import typst

from invoicing.invoices.document import document_etag, render_pdf
from invoicing.invoices.printing import PDF_STANDARD
from tests.invoicing.test_invoice_document import invoice, line, tiered_line

REPEATS = 40


def milliseconds_of(action: Callable[[int], object]) -> float:
    """Return the median CPU time of one call; each call gets another number, so that nothing is answered from a cache."""
    taken = []
    for number in range(REPEATS):
        start = time.process_time()
        action(number)
        taken.append((time.process_time() - start) * 1000)
    return sorted(taken)[REPEATS // 2]


def main() -> None:
    """Measure the floor, then invoices of growing length."""
    empty = typst.Compiler(font_paths=typst.Fonts(include_system_fonts=False), ignore_system_fonts=True)

    def render_nothing(number: int) -> object:
        source = f"#set document(date: datetime(year: 2026, month: 11, day: 1), title: [{number}])".encode()
        return empty.compile(source, format="pdf", pdf_standards=PDF_STANDARD, timestamp=0)

    start = time.process_time()
    first = render_pdf(document=invoice())
    print(
        f"first document of the process   {(time.process_time() - start) * 1000:7.1f} ms  {len(first) / 1024:6.0f} KiB"
    )
    render_nothing(-1)
    floor = milliseconds_of(render_nothing)
    print(f"empty typst document (floor)    {floor:7.2f} ms")
    for name, lines in {
        "1 line": (line(),),
        "5 lines": tuple(line(position=position) for position in range(1, 6)),
        "8 lines with tiers": tuple(tiered_line(position=position) for position in range(1, 9)),
        "200 lines": tuple(line(position=position) for position in range(1, 201)),
    }.items():
        size = len(render_pdf(document=invoice(*lines)))
        taken = milliseconds_of(
            lambda number, lines=lines: render_pdf(document=invoice(*lines, number=f"INV-{number}"))
        )
        tag = milliseconds_of(
            lambda number, lines=lines: document_etag(document=invoice(*lines, number=f"INV-{number}"))
        )
        print(f"{name:31} {taken:7.1f} ms  {size / 1024:6.0f} KiB  {taken / floor:6.1f} x floor  etag {tag:.2f} ms")


if __name__ == "__main__":
    main()
