#!/usr/bin/env python
"""The command line of the back office: `python manage.py help` lists every command."""

import os
import sys

from billing_site.kernel.garbage import look_seldom


def main() -> None:
    """Run one Django management command with the project's settings."""
    look_seldom()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")
    from django.core.management import execute_from_command_line
    from django.db import ProgrammingError

    from billing_site.kernel.requests import begin, new_name

    begin(new_name(of=sys.argv[1] if len(sys.argv) > 1 else "help"))
    try:
        execute_from_command_line(sys.argv)
    except ProgrammingError as error:
        # Every command that needs tables ends here where they are not there yet.
        from billing_site.serving.readiness import is_for_want_of_migrations

        if "--traceback" in sys.argv or not is_for_want_of_migrations(error=error):
            raise
        sys.exit("The database has no tables yet (or is behind): run `python manage.py migrate`")


if __name__ == "__main__":
    main()
