"""What Kubernetes says about where a pod may run and where it had better run: nodes, neighbours, spreading. Pure."""
