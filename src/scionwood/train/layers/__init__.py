"""Modules with a structure of their own, and their first weights."""
