"""The messages of the CONTROL stream, one module for each family: dataclasses and their codecs."""
