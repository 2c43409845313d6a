"""The report: what the run folders under a root hold, as one page, and as tables."""
