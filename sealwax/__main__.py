"""`python -m sealwax` is the command `sealwax`."""

from sealwax.cli.app import main

main()
