"""`python -I -S <this file> [profile as JSON]`: print what this host can give, as JSON.

Run by path, beside the package and not through it, so that it needs nothing but the interpreter.
"""

from __future__ import annotations

import importlib
import os
import sys

if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, os.path.dirname(here))
    importlib.import_module(os.path.basename(here) + ".probe").main(sys.argv[1:])
