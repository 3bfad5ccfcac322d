"""docs/lab-report.md: the experiments of the original report, run, drawn and put into words."""
