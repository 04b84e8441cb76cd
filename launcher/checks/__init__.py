"""What can be known before submitting, one check per file: a function from facts to objections.

Imports executors' contract, model and errors; reads no record and no configuration. `table.CHECKS` lists them all.
"""
