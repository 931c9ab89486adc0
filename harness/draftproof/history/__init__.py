"""The history of a project: what each saved run measured, and at which commit."""
