"""What the protocol costs, beside the peers that people would use instead, measured in one run.

    python -m benchmarks                 everything, and the table in benchmarks/RESULTS.md
    python -m benchmarks --only startup  one group, printed alone

Absolute figures move with the machine; a ratio whose two sides were measured alternately in one run does not.
"""
