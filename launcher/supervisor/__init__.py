"""On the node: runs one attempt, samples, judges, beats, stops, records. Imports store, model and errors only, and travels to
the node: standard library and the nvidia-ml-py that travels with it, Python 3.9."""
