"""Initialisers: the first values of a tensor, from what it is in its model.

The contract with the verb, which knows the anatomy while a method knows one site at a time.

1. The verb goes through the model in the order of execution and asks for one **site** at a time (``site.Site``): a weight
   as (out, in, *taps) whatever the layout it is stored in, one part of a fused projection, a bias, a gain, an embedding.
2. A method is called as ``method(site, <inputs>, **options)``. Inputs, by name:

   * ``generator``: a ``torch.Generator`` keyed by the seed and the site's name;
   * ``draws``: ``draws(*key)`` gives the ``torch.Generator`` of a key, for what several sites have in common (the queries
     and keys of one attention): whoever asks with the same key gets the same numbers;
   * ``statistics``: what a calibration pass measured, or what the user gave, by name, where the record says so.

3. It gives back a float32 tensor of ``site.shape``, or None to leave the site as it is; the ledger lists what is left.
   A method says by its kinds of site which it sets: it must not touch others. Norm gains are left unless the paper sets
   them.
4. What is to be said of a site beside its numbers (which point was taken, that it does not hold) is its record's
   ``note``, called as ``note(site, **options)``: the ledger and the explanation have it.
5. The same site gives the same numbers whatever else the model has: nothing depends on the order of calls.

Small maths that several share: ``moments`` (Gaussian moments of an activation), ``orthogonal`` (the exact draw).
"""
