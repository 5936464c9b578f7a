"""`python -m server`: the same as the console script `restore4k`."""

from server.cli.app import main

if __name__ == "__main__":
    main()
