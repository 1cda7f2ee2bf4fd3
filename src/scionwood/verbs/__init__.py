"""Verbs: each joins a method, the anatomies and the checkpoints into a lazy checkpoint; nothing is read until it is written.

A verb imports methods, anatomy and checkpoint. What it returns composes: it can be written, or given to the next verb.
"""
