"""The version of Mesos whose interfaces master and agent serve."""

VERSION = "1.11.0"
