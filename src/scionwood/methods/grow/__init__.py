"""Growth: how the axes of a larger model are made from those of a smaller one.

The contract with the verb, which knows the anatomy while a method knows sizes alone: ``growth`` has it.
"""
