"""`python -m nasmeta` is `nasmeta`."""

import sys

from nasmeta.cli.main import main

sys.exit(main())
