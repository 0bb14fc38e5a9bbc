"""What does one see? A run as one HTML file, its figures, and its progress while it runs."""

from __future__ import annotations

from evoopt.report.writing import figure_names, make_page, save_plot, write_report

__all__ = ["figure_names", "make_page", "save_plot", "write_report"]
