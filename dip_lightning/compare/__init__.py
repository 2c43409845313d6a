"""Comparing methods: a list of jobs, runners that work it off, and a report on what came out."""
