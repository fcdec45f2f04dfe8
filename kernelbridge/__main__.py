"""python -m kernelbridge: the command line."""

from kernelbridge.cli import main

if __name__ == "__main__":
    main()
