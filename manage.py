#!/usr/bin/env python
"""The command line of the back office: `python manage.py help` lists every command."""

import os
import sys


def main() -> None:
    """Run one Django management command with the project's settings."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
