"""``python -m wkpipe``: the same as the command ``wkpipe``."""

from wkpipe.cli.main import main

main()
