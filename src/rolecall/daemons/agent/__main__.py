"""``python -m rolecall.daemons.agent serve …``: the agent without the rest of the command line."""

import sys

from rolecall.daemons.agent.main import main

sys.exit(main())
