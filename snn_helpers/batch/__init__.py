"""Notebooks as jobs: run them headlessly, sweep their parameters, keep a ledger, and say what came out."""

from __future__ import annotations

from snn_helpers.batch.ledger import LedgerError as LedgerError
from snn_helpers.batch.ledger import read_rows as read_rows
from snn_helpers.batch.parameters import Rules as Rules
from snn_helpers.batch.plan import SweepPlan as SweepPlan
from snn_helpers.batch.runner import Limits as Limits
from snn_helpers.batch.series import run_series as run_series
from snn_helpers.batch.sweep import SweepBusy as SweepBusy
from snn_helpers.batch.sweep import Workers as Workers
from snn_helpers.batch.sweep import run_sweep as run_sweep
