"""The demonstrations: inherited and first weights race what a class begins with.

In ``digits`` and ``minilm`` a student selected from a larger model races the same student trained from scratch: the one
trains its own small vision transformer as the source, the other takes a pretrained sentence encoder. ``growing`` makes a
larger model of a smaller one, and trains both on docstrings. ``initialising`` races first weights, of the nets and by the
methods in ``starts``. Each has ``run(out)``, which the command line calls, and its search for the baseline's recipe
and learning rates, as ``python -m scionwood.demos.digits --tune``.

Of students, ``training`` is the loop, ``setting`` what is learned from how much, ``selections`` the calls of the library,
``race`` what is measured, ``curves`` what is drawn, ``tuning`` the search. All share ``docstrings``, the text;
``output``, what is printed; and ``extras``, what they take beyond the library.

A demo uses the library as a user would: ``scionwood.select``, ``scionwood.write``, then ``from_pretrained``. It may
import the whole package below the command line. Importing this folder imports neither torch nor any extra.
"""
