"""Measures and probes: what is in weights, and what an initialisation does, as numbers and tables.

A file is a system; its docstring says which, with the paper. Functions take tensors, modules or checkpoints and return
plain numbers, tensors or frozen records.
"""
