"""Engines: where tasks run that are commands of their own. Each module imports only those above it.

task.py            a task, what came of it, and what it needs of a machine
command_server.py  a process that has imported torch once and forks a child for each command
local_pool.py      tasks on this machine
transfer.py        files as bytes, for machines that share no file system
ray_cluster.py     tasks on the machines of a Ray cluster
ask.py             what commands answer, several of them in one process
choose.py          the engine that --workers, --on and --per-job ask for
"""
