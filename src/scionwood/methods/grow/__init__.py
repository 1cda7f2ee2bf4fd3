"""Growths: how the axes of a larger model come from those of a smaller one. One file is one method.

The contract, which ``growth`` holds and the verb relies on:

1. A growth is asked for one axis at a time: its size in the ``source`` and in the ``target``, which is larger; by name
   also its ``kind``, its ``place`` (``stream``, ``inner``, ``heads`` or ``score``) and a ``generator`` of its own.
2. It returns a ``Growth``: the source index of every target index, or -1; every source index is there at least once.
   Equal sizes are not asked about.
3. It says what new indices get in tensors that write the axis and in those that read it, whether what reads copies is
   divided by their number, and whether noise that cancels goes between them; or, for maps that are ``learned``, the
   mixtures of old indices that they begin as. It never sees a tensor.
4. What lies beyond one axis is the verb's: scores of widened heads, tied embeddings, constants that depend on a width.
5. A size that cannot be served is a ``MethodError`` that names the sizes; the verb adds the tensor and the axis.

Which blocks a deeper target has is chosen apart, by a rule of ``depth``: it is an option of the verb, not a method.
"""
