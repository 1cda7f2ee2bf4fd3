"""Configurations of mergekit, translated into recipes.

==============  =======================================================================================================
``methods``     mergekit's methods and their parameters, and what both are called here
``reference``   models as mergekit names them: ``path@revision+lora@revision``
``settings``    values, gradients and filters on four levels, as rules
``vocabulary``  the tokenizer and the chat template
``layout``      models, slices and modules, as they are written
``modules``     mergekit's names of the parts of models, and the names of their tensors
``translate``   from documents to the recipe that does the same, with the lines of the file
==============  =======================================================================================================

What runs is the recipe: there is no second way to merge.
"""

from scionwood.recipe.mergekit.translate import Translation, is_mergekit, translate

__all__ = ["Translation", "is_mergekit", "translate"]
