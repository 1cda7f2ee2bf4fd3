"""The catalogue of methods: one file a system, pure functions; the folder is the registry.

``methods/<family>/<system>.py`` holds one public function named like the file and decorated with ``@method``; that is
all there is to registering. A file without such a function (small maths, as ``select/depth.py``) is not listed.

What lives here imports torch, the record, and small maths beside it: no files, no models, no threads, no devices.

* ``registry``: list and load methods by name;
* ``record``: the decorator and what it records;
* ``options``: a signature read as a schema;
* ``laws``: the names of the laws that a method may claim.
"""
