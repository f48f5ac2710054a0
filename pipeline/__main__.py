"""Entry point of `terrazzo` and of `python -m pipeline`."""

from pipeline.engine.signals import exit_at_signals


def main() -> None:
    """Run the command line; a signal during its import ends the process in order."""
    exit_at_signals()
    from pipeline.cli.main import main as run  # noqa: PLC0415

    run()


if __name__ == "__main__":
    main()
