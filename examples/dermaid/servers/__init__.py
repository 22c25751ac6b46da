"""What stands in for the cloud on one machine: a bucket and a Git host, both on loopback.

Standard library only, besides the `git` command: they run in the Python that starts the example.
"""
