"""A real SLURM on one host: munge, slurmctld, slurmdbd with a database, several slurmd and a login sshd in a private folder with
private ports, under one supervisor. Imports the standard library and `launcher`'s errors and processes.
"""
