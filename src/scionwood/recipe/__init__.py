"""Recipes: a run as a file.

================  =====================================================================================================
``document``      YAML with a line for every value, read strictly
``verbs``         the table of verbs, and what their steps may hold
``options``       options as recipes write them: for all, for each model, or by rules
``mergekit``      configurations of mergekit, translated into recipes
``read``          from a document to steps; every mistake with its line, before anything is opened
``run``           from steps to a lazy checkpoint
``reproduce``     an output made again from its lineage, and compared
``schema``        the JSON Schema
================  =====================================================================================================

Reading a document imports no torch; what knows methods does.
"""
