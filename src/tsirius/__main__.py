"""``python -m tsirius`` is the command ``tsirius``."""

from tsirius.cli import main

main()
