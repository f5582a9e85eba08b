"""``python -m multipaxos``: the command line."""

from multipaxos.cli import main

if __name__ == "__main__":
    main()
