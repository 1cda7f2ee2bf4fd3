"""The engine: runs a method over checkpoints tile by tile, in bounded memory.

``combine`` makes one tensor from several, ``counting`` finds exact order statistics in passes over tiles. What comes
out are lazy tensors: ``checkpoint.write`` reads their tiles from several threads. This room knows methods and
checkpoints, and nothing of what a method means.
"""
