"""``python -m multipaxos``: the command line."""

from multipaxos.cli.main import main

if __name__ == "__main__":
    main()
