"""Share: how several threads divide the rows of one loop, as LLVM IR."""

from cellwright.targets.llvm.ir import Function

# What `share` reads: an array of pointers or whole numbers, in this order.
FIELDS = ("pointers", "numbers", "edges", "parts", "chunk", "next")


def emit() -> str:
    """Write `void share(ptr data[])`, which every thread of a team calls.

    Parts of the rows are taken one after another, until none is left: a team may have fewer
    threads than there are parts. A part goes to `loop` in chunks of rows.
    """
    f = Function("share", [("ptr", "data")])
    field = {name: f.at("ptr", "%data", str(k)) for k, name in enumerate(FIELDS)}
    pointers, numbers = f.load("ptr", field["pointers"]), f.load("ptr", field["numbers"])
    edges = f.load("ptr", field["edges"])
    parts, chunk = f.load("i64", field["parts"]), f.load("i64", field["chunk"])
    with f.loop("0", parts):  # a thread takes at most all of them
        part = f.op(f"atomicrmw add ptr {field['next']}, i64 1 monotonic")
        with f.when(f.op(f"icmp slt i64 {part}, {parts}")):
            low = f.load("i64", f.at("i64", edges, part))
            high = f.load("i64", f.at("i64", edges, f.add(part, "1")))
            with f.loop(low, high, chunk) as rows:
                end = f.least(f.add(rows.counter, chunk), high)
                args = f"ptr {pointers}, ptr {numbers}, i64 {rows.counter}, i64 {end}"
                f.do(f"call void @loop({args})")
    return f.text()
