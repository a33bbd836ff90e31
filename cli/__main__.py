"""`python -m fxstyle.cli`, for where the script is not on the path."""

import sys

from fxstyle.cli import main

sys.exit(main())
