"""`python -m rayrml` is the command `rayrml`."""

import sys

from rayrml.cli import main

sys.exit(main())
