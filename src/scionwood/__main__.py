"""``python -m scionwood`` is the command ``scionwood``."""

from scionwood.cli import main

if __name__ == "__main__":
    main()
