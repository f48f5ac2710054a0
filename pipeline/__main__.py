"""`python -m pipeline` is `terrazzo`."""

from pipeline.cli import main

if __name__ == "__main__":
    main()
