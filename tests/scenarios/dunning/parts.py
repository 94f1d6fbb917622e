"""A world too large for one evening, lived in parts: each a world of its own with a seed that follows from the one seed, its result a line of a file."""

import hashlib
import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# What is the same for all parts of one world.
WHOLE = ("seed", "customers", "months", "looks", "parts")


@dataclass(frozen=True)
class Part:
    """One of `of` parts of a world of so many customers."""

    number: int
    of: int

    @classmethod
    def read(cls, text: str) -> "Part":
        """Read "3/20"."""
        number, _, of = text.partition("/")
        part = cls(int(number), int(of))
        if not 1 <= part.number <= part.of:
            raise ValueError(f"there is no part {text}: say 1/{part.of} to {part.of}/{part.of}")
        return part

    def customers(self, count: int) -> range:
        """Return the numbers of its customers: together the parts have each once."""
        return range(count * (self.number - 1) // self.of, count * self.number // self.of)

    def seed(self, seed: int) -> int:
        """Return its own seed: other weather and other lives than in any other part."""
        return int.from_bytes(hashlib.sha256(f"{seed} part {self.number} of {self.of}".encode()).digest()[:6])


def keep(path: Path, *, whole: dict[str, int], part: Part, lived: dict[str, Any]) -> None:
    """Append the result of a part: what was lived, by which code, when."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    line = {
        **whole,
        "part": part.number,
        "parts": part.of,
        "commit": commit.stdout.strip(),
        "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **lived,
    }
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def summed(lines: Sequence[str]) -> str:
    """Say what the parts of each world come to, which are missing, and what differed; a part that was lived again counts once, by its last line."""
    worlds: dict[tuple[int, ...], dict[int, dict[str, Any]]] = {}
    for row in map(json.loads, filter(str.strip, lines)):
        worlds.setdefault(tuple(row[name] for name in WHOLE), {})[row["part"]] = row
    return "\n".join(_told(dict(zip(WHOLE, whole, strict=True)), parts) for whole, parts in sorted(worlds.items()))


def _told(whole: dict[str, int], parts: dict[int, dict[str, Any]]) -> str:
    rows = [parts[number] for number in sorted(parts)]
    counts: Counter[str] = Counter()
    for row in rows:
        counts.update(row["counts"])
    missing = [str(number) for number in range(1, whole["parts"] + 1) if number not in parts]
    differing = [f"{row['part']} ({row['differences']}, seed {row['own_seed']})" for row in rows if row["differences"]]
    days, seconds = (sum(row[name] for row in rows) for name in ("customer_days", "seconds"))
    return "\n".join(
        (
            f"seed {whole['seed']}: {whole['customers']} customers, {whole['months']} months, {whole['looks']} looks a day",
            f"  parts: {len(rows)} of {whole['parts']}, missing: {', '.join(missing) or 'none'}",
            f"  lived: {sum(row['lives'] for row in rows)} customers, {days:,} days of customers in {seconds:,.0f} s",
            f"  differences: {sum(row['differences'] for row in rows)}, in parts: {', '.join(differing) or 'none'}",
            f"  code: {', '.join(sorted({row['commit'] for row in rows}))}",
            *(f"  {name}: {count:,}" for name, count in sorted(counts.items())),
        )
    )
