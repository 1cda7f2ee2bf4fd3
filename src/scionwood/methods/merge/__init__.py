"""Merges: one tensor out of several of the same shape.

The contract with the engine (``engine.combine``), which cuts tensors into tiles; ``whole.merge_models`` does the same in
memory, and the engine is held to it:

1. A method is called as ``method(<inputs>, **options)`` with what ``record.inputs`` names: ``tensors`` in weight space,
   ``deltas`` (the differences to the base) in delta space, in the order written; ``base`` where it asks for it;
   ``uniforms`` where it draws; ``shape``, the whole tensor's; and the summaries that its record declares, by name, of
   the tensor or of the whole model: those that its options do without are left out.
2. Everything is float32. In delta space it returns what is to be added to the base. It never writes into its inputs.
3. ``scope="element"``: each element of the result depends on the same element of the inputs and on the summaries alone,
   so that any tiling gives the same bits. ``scope="row"``: on the same row, the last dimension; it gets matrices, a
   vector being one row. ``scope="tensor"``: on the whole tensor, which comes in its own shape.
4. ``weights``, ``density`` and their like are one number for all models or one for each.
"""
