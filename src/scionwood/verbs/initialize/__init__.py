"""Initialise: first weights for a model that has no donor, by what each of its tensors is in the model's own graph.

* ``sites``: from the flow through a model to the sites that methods are asked about, and back into stored layouts;
* ``drawing``: a method asked about every site, and what the ledger says of it;
* ``calibrate``: the one pass over a batch that LSUV needs;
* ``explain``: a table of what every tensor would get;
* ``initialize``: the verb.
"""

from scionwood.verbs.initialize.explain import Line, explain
from scionwood.verbs.initialize.initialize import initialize

__all__ = ["Line", "explain", "initialize"]
