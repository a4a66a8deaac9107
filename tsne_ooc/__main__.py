import sys

from tsne_ooc.cli import main

sys.exit(main())
