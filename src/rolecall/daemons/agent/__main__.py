"""``python -m rolecall.daemons.agent serve …``: the agent without the rest of the command line."""

import sys

sys.modules["typing_extensions"] = None  # type: ignore[assignment]  # 0.4 MB: msgspec takes typing's own without it

from rolecall.daemons.agent.main import main  # noqa: E402

sys.exit(main())
