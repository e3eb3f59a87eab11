"""Run the command line as `python -m snn_helpers`."""

from snn_helpers.cli import main

raise SystemExit(main())
