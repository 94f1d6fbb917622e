"""The offline checker that customers download: `check_invoice.py`, one file that needs nothing but Python."""

from pathlib import Path

# The file itself, as it is handed out.
CHECKER = Path(__file__).with_name("check_invoice.py")
