"""Micro-benchmarks: what one step of the engine costs, beside a control.

``python -m pytest bench/micro --benchmark-only`` measures times; ``bench/guard.py``
counts instructions of the same steps (``steps.py``).
"""
