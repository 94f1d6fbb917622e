"""The arguments by which commands are told how foreign content becomes events."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from billing_site.kernel.errors import InvalidInput
from metering.core.mapping import RowMapping, read_mapping
from metering.core.presets import PRESETS


def add_mapping_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --preset, --map and --timezone."""
    parser.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        help="a well-known format: " + "; ".join(f"{name}: {preset.title}" for name, preset in PRESETS.items()),
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        dest="rules",
        metavar="FIELD=COLUMN|FIELD==CONSTANT",
        help="which column, or which constant, is a field of the event; also properties.NAME=COLUMN. "
        "Columns that are named like fields need no rule. A rule wins over the preset",
    )
    parser.add_argument(
        "--timezone", metavar="ZONE", help="what timestamps without an offset mean, such as Europe/Berlin"
    )


def mapping_of_options(options: Mapping[str, Any]) -> RowMapping:
    """Return the mapping that the arguments describe; raises InvalidInput.

    Whoever names the column of the timestamp has looked at it: without a zone it is read as UTC then.
    """
    mapping = mapping_of_words(
        preset=options["preset"] or "", rules=options["rules"], zone_name=options["timezone"] or ""
    )
    is_named = any(rule.startswith("timestamp=") and not rule.startswith("timestamp==") for rule in mapping.rules)
    return replace(mapping, zone=ZoneInfo("UTC")) if mapping.zone is None and is_named else mapping


def mapping_of_words(*, preset: str, rules: Sequence[str], zone_name: str) -> RowMapping:
    """Return the mapping of a preset's name, rules and a zone's name, each of them empty where there is none.

    Raises InvalidInput that names what is wrong.
    """
    if preset and preset not in PRESETS:
        raise InvalidInput(f"--preset {preset}: presets are {', '.join(PRESETS)}", field="preset")
    try:
        zone = ZoneInfo(zone_name) if zone_name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInput(
            f"--timezone {zone_name}: there is no such zone; write one such as Europe/Berlin", field="timezone"
        ) from None
    return read_mapping(rules=rules, zone=zone, preset=PRESETS.get(preset))
