"""What ``scripts/measure_auto.py`` and ``scripts/never_worse.py`` share."""
