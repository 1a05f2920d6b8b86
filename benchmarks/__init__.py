"""What a request costs in txrproxy and in its peers, measured side by side. See README.md.

Standard library only, so that any Python 3.11 runs it whatever the product's own dependencies are.
"""
