"""`python -m workmanager.cli`."""

from workmanager.cli.root import main

main()
