"""`python -m engine.command` is `pagefold`."""

from engine.command import main

main()
