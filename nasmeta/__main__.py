"""`python -m nasmeta` is `nasmeta`."""

import sys

from nasmeta.cli import main

sys.exit(main())
