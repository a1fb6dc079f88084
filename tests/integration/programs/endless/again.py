"""A worker that starts another of these programs again whatever has become of it, as a service does."""

import importlib
import logging
import sys

logger = logging.getLogger(__name__)


def main() -> None:
    program = importlib.import_module(sys.argv[1])
    while True:
        try:
            program.main()
        except Exception:
            logger.exception("The agent has failed, and is started again.")


if __name__ == "__main__":
    main()
