"""How long a lane keeps what it cannot send."""

from sealwax.policy.delay import IN_MEMORY_MS

# A message that was not attempted waits in memory for so long at most.
MAX_WAITING_MS = IN_MEMORY_MS
# A connection without a message is kept for so long where sites share them: others may wait.
SHARED_IDLE_S = 2.0
