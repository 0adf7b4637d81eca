"""``python -m irae``."""

from irae.cli.app import main

if __name__ == "__main__":
    main()
