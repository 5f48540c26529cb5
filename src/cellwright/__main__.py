"""`python -m cellwright`: the same as `cellwright`."""

import sys

from cellwright.cli import main

sys.exit(main())
