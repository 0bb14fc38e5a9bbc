"""``python -m evoopt``."""

from __future__ import annotations

from evoopt.cli import main

if __name__ == "__main__":
    main()
