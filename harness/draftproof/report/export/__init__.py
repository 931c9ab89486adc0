"""Reports for other programs: tables, metrics, a badge, annotations, and loggers."""
