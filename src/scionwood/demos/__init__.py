"""The demonstrations: a student selected from a larger model races the same student trained from scratch.

``digits`` trains its own small vision transformer as the source; ``minilm`` takes a pretrained sentence encoder. Each
has ``run(out, seeds=3)``, which the command line calls, and ``python -m scionwood.demos.digits --tune``, the search
that found the recipe of the scratch baseline. ``training`` is the loop both share, ``setting`` what is learned from how
much, ``selections`` the calls of the library, ``race`` what is measured, ``output`` and ``curves`` what is shown,
``tuning`` the search.

A demo uses the library as a user would: ``scionwood.select``, ``scionwood.write``, then ``from_pretrained``. It may
import the whole package below the command line. Importing this folder imports neither torch nor any extra.
"""
