"""`python -m pagefold.engine.command` is `pagefold`."""

from pagefold.engine.command import main

main()
