"""`python -m pipeline` is `terrazzo`."""

from pipeline.engine.signals import exit_at_signals


def main() -> None:
    """Run the command line; a signal that comes while it is being imported is no error."""
    exit_at_signals()
    from pipeline.cli.main import main as run  # noqa: PLC0415

    run()


if __name__ == "__main__":
    main()
