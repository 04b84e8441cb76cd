"""Kinds of place where a job can run, one file each, behind one contract. Imports model and errors; knows neither store,
operations nor cli."""
