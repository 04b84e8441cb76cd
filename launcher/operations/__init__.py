"""One verb per file: takes a request, returns data, never prints. Imports config, checks, executors and store; the cli and
the api call it."""
