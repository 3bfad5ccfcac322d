"""Measuring models side by side: a parent that schedules and judges, one fresh process per measurement.

`harness.measure` runs the schedule, `worker` is the process that is measured, `stats` turns the
rounds into figures with intervals, `html` and `card` show them.
"""
