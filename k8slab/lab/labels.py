"""The labels by which everything a lab owns is found again: the engine is the only register there is."""

LAB = "k8slab.lab"
TOPOLOGY = "k8slab.topology"
NODE = "k8slab.node"
ROLE = "k8slab.role"
SPEC = "k8slab.spec"
WIRE = "k8slab.wire"
SWITCH = "k8slab.switch"
