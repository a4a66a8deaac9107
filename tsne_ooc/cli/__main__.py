import sys

from tsne_ooc.cli.command import main

sys.exit(main())
