"""The cluster's name server: services and their endpoints under the names of Kubernetes' DNS specification."""
