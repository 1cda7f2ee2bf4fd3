"""Growth while training: what a model that grows needs beside its first weights.

A file is a system; its docstring says which, with the paper and what was measured. Nothing here reads files but
``saved``.

* ``masks``: new parts are faded in by a mask; the optimiser's state grows along;
* ``heads``: where old heads stand among new ones, in fused projections and grouped queries too;
* ``mixture``: weights that are mixtures of templates, grown from half-width nets;
* ``learned``: the growth itself is a linear map, learned in a hundred steps;
* ``net2deeper``: layers that are the identity;
* ``hypernetwork``: a net that predicts the weights of nets it has not seen;
* ``denoised``: a diffusion model over the weights of a bank of models;
* ``saved``: these two as files, which ``scionwood grow`` takes;
* ``learngene``: a few shared blocks that become models of any depth.
"""
