"""Files of tests for the processes of pytest-xdist, as with `--dist loadfile`."""

from xdist.scheduler import LoadFileScheduling


class OnceScheduling(LoadFileScheduling):
    """Runs no test again whose process has ended in it.

    xdist gives the rest of the file, beginning with that test, to another process. A test that
    hangs or crashes would end one process after another.
    """

    def remove_node(self, node):
        workload = self.assigned_work[node]
        started = (
            name for unit in workload.values() for name, is_done in unit.items() if not is_done
        )
        crashed = next(started, None)
        if crashed is not None:
            workload[self._split_scope(crashed)][crashed] = True
        super().remove_node(node)
        return crashed
