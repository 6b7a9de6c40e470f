"""``python -m stablerank`` is the command ``stablerank``."""

import sys

from stablerank.cli import main

if __name__ == "__main__":
    sys.exit(main())
