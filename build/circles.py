#!/usr/bin/env python3
"""Finds modules that use each other in a circle. Reads what `cargo modules dependencies` writes, from stdin.

A module and the one that it lies in may use each other, which Rust's re-exports ask for. A module called `error`
may name the types of those that return its errors. All other circles are printed, and the exit code is then 1.
"""
import re
import sys

NODE = re.compile(r'"([^"]+)" \[label=.*// "(crate|mod)" node')
USE = re.compile(r'"([^"]+)" -> "([^"]+)" \[label="uses"')


def main():
    text = sys.stdin.read()
    modules = {name for name, _ in NODE.findall(text)}
    if not modules:
        sys.exit("no modules: give the output of `cargo modules dependencies`")

    def module_of(item):
        while item not in modules:
            item = item.rpartition("::")[0]
            if not item:
                return None
        return item

    below = {module: set() for module in modules}
    for a, target in USE.findall(text):
        b = module_of(target)
        # What a module imports; a method's own uses would count for its type's module, wherever it is written.
        related = a not in modules or b is None or f"{a}::".startswith(f"{b}::") or f"{b}::".startswith(f"{a}::")
        if not related and not a.endswith("::error"):
            below[a].add(b)

    # Modules are in one circle if each is reached from the other.
    def reached(start):
        seen, waiting = set(), [start]
        while waiting:
            for module in below[waiting.pop()] - seen:
                seen.add(module)
                waiting.append(module)
        return seen

    from_each = {module: reached(module) for module in sorted(modules)}
    circles = {
        frozenset(b for b in from_each[a] if a in from_each[b]) for a in from_each if a in from_each[a]
    }
    for circle in sorted(map(sorted, circles)):
        print("modules that use each other:", ", ".join(circle))
    sys.exit(bool(circles))


main()
