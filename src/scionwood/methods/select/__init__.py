"""Selections: which indices of a larger model's axes a smaller model takes.

The contract with the verb, which knows the anatomy while a method knows sizes alone; ``choice.choose`` holds both to
it.

1. The verb asks for one **unit of choice** at a time: a whole dimension (``record.unit == "dimension"``), given as the
   sizes of the axes whose row-major product it is, outermost first; or one axis (``unit == "axis"``), given as a tuple
   of one size. Where a rule for dimensions cannot be used (an axis is positional, or one axis occurs in different
   products, as with grouped queries), the verb gives it one axis at a time instead.
2. A method is called as ``method(source, target, <inputs>, **options)``: the sizes in source and target, then whatever
   ``record.inputs`` names beyond these, and the options that ``record.resolve`` has checked:

   * ``generator``: a ``torch.Generator`` keyed by the seed and the name of the unit (and of the tensor, where
     ``record.consistent`` is false);
   * ``scores``: one number per index of the unit, flat. ``record.scores`` says which: ``magnitude`` (the verb sums them
     with ``magnitude.accumulate``), ``activation`` (from a calibration pass) or ``variance`` (of a table's columns, by
     ``llminit.column_variance``). Where they are in ``record.optional``, they may be absent;
   * ``kind``: the kind of the axis, ``free`` or ``kernel``.

3. It gives back a LongTensor of ``prod(target)`` indices below ``prod(source)``, strictly increasing unless its
   docstring says otherwise. Rules that also rescale give a ``Choice``: the index, and the ``gain`` that multiplies
   every tensor along each dimension that *reads* the unit (contracts it with an activation). ``choose`` always gives a
   ``Choice``. As a map of the axis it is ``AxisMap.select(choice.index, n, gain=choice.gain)``.
4. ``record.consistent``: one choice serves every tensor that has the unit, in whatever role; where it is false, every
   occurrence in a tensor gets a choice of its own. ``record.resizes``: the kinds of axes it may be asked to cut.
5. A size that cannot be served is a ``MethodError`` that names the sizes; the verb adds the tensor and the axes.

Which blocks to keep is chosen apart, by a rule of ``depth``: it is an option of the verb, not a method.
"""
