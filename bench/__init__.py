"""Yardsticks: what the product does beside the least that the same machine needs for it. README.md."""
