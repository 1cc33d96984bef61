"""The command ``tsirius``, also as ``python -m tsirius``."""

from tsirius import interrupts


def main() -> None:
    """Run the command line; from here on Ctrl-C ends it with one line, also while it is imported."""
    interrupts.install()
    from tsirius import cli

    cli.main()


if __name__ == "__main__":
    main()
