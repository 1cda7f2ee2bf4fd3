"""Training parts that belong to inherited weights: plain PyTorch, to be put into anybody's loop.

A file is a system or a small group of them; its docstring says which, with the paper. Nothing here reads files, but for
``growth/saved``: predictors of weights as ``scionwood grow`` takes them.

* ``regularizers/``: terms of a loss;
* ``layers/``: modules with a structure of their own, and their first weights;
* ``growth/``: what a model that grows while it trains needs;
* the others by their names.
"""
