"""Share: how several threads divide one loop, by its rows or by its units, as LLVM IR."""

import functools

from cellwright.targets.llvm.ir import Function

# What `share` reads: an array of pointers or whole numbers, in this order.
FIELDS = ("pointers", "numbers", "edges", "parts", "chunk", "next", "team", "gate")
# Every compiled loop takes these: the rows are `row0` to `row1`, the units part `part` of `parts`.
LOOP = (
    ("ptr", "pointers"),
    ("ptr", "numbers"),
    ("i64", "row0"),
    ("i64", "row1"),
    ("i64", "part"),
    ("i64", "parts"),
    ("ptr", "gate"),
)
GATE = 16  # numbers in a gate: how many have come, and at YIELD the address of a system call
YIELD = 8  # in another line of the cache, which nobody writes
PATIENCE = 2048  # looks at a gate before the processor is offered to others


@functools.cache
def emit() -> str:
    """Write `void share(ptr data[])`, which every thread of a team calls.

    Rows: parts are taken one after another, until none is left, since a team may have fewer threads
    than there are parts; a part goes to `loop` in chunks of rows. Units, where `team` is the
    function that counts the team's threads: each of them takes one part and all rows.
    """
    f = Function("share", [("ptr", "data")])
    field = {name: f.at("ptr", "%data", str(k)) for k, name in enumerate(FIELDS)}
    pointers, numbers = f.load("ptr", field["pointers"]), f.load("ptr", field["numbers"])
    edges, team = f.load("ptr", field["edges"]), f.load("ptr", field["team"])
    parts, chunk = f.load("i64", field["parts"]), f.load("i64", field["chunk"])
    with f.when(f.op(f"icmp ne ptr {team}, null")):
        part = f.op(f"atomicrmw add ptr {field['next']}, i64 1 monotonic")
        there = f.op(f"sext i32 {f.op(f'call i32 {team}()')} to i64")
        low, high = f.load("i64", edges), f.load("i64", f.at("i64", edges, parts))
        gate = f.load("ptr", field["gate"])
        args = f"ptr {pointers}, ptr {numbers}, i64 {low}, i64 {high}"
        f.do(f"call void @loop({args}, i64 {part}, i64 {there}, ptr {gate})")
    by_rows = f.op(f"select i1 {f.op(f'icmp eq ptr {team}, null')}, i64 {parts}, i64 0")
    with f.loop("0", by_rows):  # a thread takes at most all of them
        part = f.op(f"atomicrmw add ptr {field['next']}, i64 1 monotonic")
        with f.when(f.op(f"icmp slt i64 {part}, {parts}")):
            low = f.load("i64", f.at("i64", edges, part))
            high = f.load("i64", f.at("i64", edges, f.add(part, "1")))
            with f.loop(low, high, chunk) as rows:
                end = f.least(f.add(rows.counter, chunk), high)
                args = f"ptr {pointers}, ptr {numbers}, i64 {rows.counter}, i64 {end}"
                f.do(f"call void @loop({args}, i64 0, i64 1, ptr null)")
    return f.text()


def meeting(pause: str) -> str:
    """Write `void meet(ptr gate, ptr mine, i64 parts)`: wait until all parts have come so far.

    `mine` counts the arrivals that this thread's next meeting waits for. Whoever waits long offers
    the processor to others: there may be fewer processors than threads.
    """
    f = Function("meet", [("ptr", "gate"), ("ptr", "mine"), ("i64", "parts")], private=True)
    wanted = f.add(f.load("i64", "%mine"), "%parts")
    f.do(f"store i64 {wanted}, ptr %mine")
    f.do("%before = atomicrmw add ptr %gate, i64 1 acq_rel")
    f.do("br label %look")
    f.label("look")
    f.do("%looks = phi i64 [ 0, %entry ], [ %again, %wait ], [ 0, %rest ]")
    found = f.op("load atomic i64, ptr %gate acquire, align 8")
    f.do(f"br i1 {f.op(f'icmp sge i64 {found}, {wanted}')}, label %all, label %wait")
    f.label("wait")
    if pause:
        f.do(f"call void {pause}")
    f.do("%again = add i64 %looks, 1")
    f.do(f"br i1 {f.op(f'icmp slt i64 %again, {PATIENCE}')}, label %look, label %rest")
    f.label("rest")
    offer = f.load("ptr", f.at("ptr", "%gate", str(YIELD)))
    f.op(f"call i32 {offer}()")
    f.do("br label %look")
    f.label("all")
    declared = f"declare void {pause.split('(')[0]}({_kinds(pause)})\n" if pause else ""
    return declared + f.text()


def _kinds(call: str) -> str:
    """Return the types of a call's arguments: `i32 1` is an `i32`."""
    inside = call[call.index("(") + 1 : call.rindex(")")]
    return ", ".join(arg.split()[0] for arg in inside.split(",") if arg.strip())
