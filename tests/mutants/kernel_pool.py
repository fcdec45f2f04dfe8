"""Faults of the kernels that are started ahead or at once: a pool's, and the ports that are held for them."""

from __future__ import annotations

from tests.mutants.fault import Fault

FRONTEND = "kernelbridge/frontend/"
POOL = "tests/frontend/test_pool.py"
STOCK = "tests/frontend/test_stock.py"
PORTS = "tests/frontend/test_ports.py"

FAULTS = (
    Fault(
        "chosen ports are let go at once",
        FRONTEND + "ports.py",
        '_CAN_BE_HELD = sys.platform == "linux"',
        "_CAN_BE_HELD = False",
        "pool",
        (PORTS,),
    ),
    Fault(
        "ports are held as long as the kernel",
        FRONTEND + "launch.py",
        "lambda _: files.let_go()",
        "lambda _: None",
        "pool",
        (PORTS,),
    ),
    Fault(
        "a pool starts what cannot start for ever",
        FRONTEND + "stock.py",
        "        if self.failure is None and self._restarts.allows(ready_seconds):\n",
        "        if self.failure is None:\n",
        "pool",
        (STOCK,),
    ),
    Fault(
        "a pool that has given up never starts again",
        FRONTEND + "stock.py",
        "            room, free = len(self.claims), 1 - self._starting\n",
        "            room, free = 0, 0\n",
        "pool",
        (STOCK,),
    ),
    Fault(
        "a claim whose kernel has died is the last",
        FRONTEND + "stock.py",
        "        if first:\n",
        "        if not first:\n",
        "pool",
        (STOCK,),
    ),
    Fault(
        "a dead kernel is handed out",
        FRONTEND + "lives.py",
        "            return lives\n",
        "            return True\n",
        "pool",
        (POOL,),
    ),
    Fault(
        "the policy begins before the claim",
        FRONTEND + "lives.py",
        "        if keeper is not None:\n",
        "        if keeper is not None and self._guard is None:\n",
        "pool",
        (POOL,),
    ),
    Fault(
        "a restart forgets the claim",
        FRONTEND + "bridge.py",
        "            self._launcher.move(cwd, env)\n",
        "            self._launcher.move(None, {})\n",
        "pool, F8",
        (POOL,),
    ),
    Fault(
        "who is cancelled leaves a kernel",
        FRONTEND + "pool.py",
        "                await bridge.aclose(grace=0)\n",
        "                await asyncio.sleep(0)\n",
        "pool, F11",
        (POOL,),
    ),
    Fault(
        "a pool's end leaves who waits",
        FRONTEND + "pool.py",
        "        self._fail(claims, error)\n        for filled",
        "        self._fail([], error)\n        for filled",
        "pool",
        (POOL,),
    ),
)
