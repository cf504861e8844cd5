"""Grounding over HTTP: the server (`app`), its page, and the client of a model elsewhere (`client`).

The client needs none of the server's dependencies.
"""
