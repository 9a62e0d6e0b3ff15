"""Speed and memory of this library beside its peers: works, adapters, worker processes, page."""
