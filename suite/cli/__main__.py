"""`python -m suite.cli`: the command line without its installed script."""

from suite.cli.main import main

if __name__ == "__main__":
    main()
