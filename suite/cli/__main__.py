"""The entry of the installed script and of `python -m suite.cli`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or answer `status` without it where that is possible."""
    if sys.argv[1:2] == ["status"]:
        from suite.cli.status import answer_at_once

        if answer_at_once(sys.argv[2:]):
            return
    from suite.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
