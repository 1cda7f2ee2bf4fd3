"""The engine: runs a method over checkpoints tile by tile, in bounded memory.

``combine`` makes one tensor from several, ``job`` holds what all tensors of a merge have in common, ``bracket`` and
``counting`` find exact order statistics in passes over tiles, ``random`` draws by element, ``workspace`` lends buffers,
``threads`` says how many torch takes, ``plan`` what a run will cost, by a ``walk`` over what its tensors are made of. What
comes out are lazy tensors: ``checkpoint.write`` has several workers read their tiles. This room knows methods and
checkpoints, and nothing of what a method means.
"""
