"""The release. Apart from the package's ``__init__``, which imports most of what needs it."""

__version__ = "0.1.0"
