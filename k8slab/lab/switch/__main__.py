from k8slab.lab.switch.main import main

raise SystemExit(main())
