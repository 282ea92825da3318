"""The version of the package. It is not in ``__init__``, which imports most of the modules that need it."""

__version__ = "0.1.0"
