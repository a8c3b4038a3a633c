"""The tables of ./bench scale: a row for each number of sessions or LUNs, and what each costs by what it cost before."""

from report import divide, number

TITLES = {"sessions": "sessions of a LUN each", "bare": "sessions without a LUN", "luns": "LUNs of one session"}

# Of a row: a figure, its heading, how it is printed, and whether it is of one of them or of all together.
COLUMNS = (("login_s", "login of all, s", ".2f", "all"), ("login_cpu_ms", "CPU of each, ms", ".2f", "each"),
           ("login_adm_cpu_ms", "iscsiadm's, ms", ".2f", "each"),
           ("resident_kib", "resident, each, KiB", ".1f", "each"), ("idle_percent", "all idle, % of a CPU", ".2f", "all"),
           ("read_us", "CPU of a read, µs", ".2f", "busy"), ("read_ratio", "by one alone", ".3f", "busy"),
           ("read_ratio_interval", "19 of 20 in", "interval", "busy"))
# What else each costs, of processor time, once it is logged in.
COSTS = (("list_cpu_ms", "listed, ms", ".3f", "each"), ("list_adm_cpu_ms", "iscsiadm's", ".3f", "each"),
         ("stop_cpu_ms", "daemon stopped", ".2f", "each"), ("take_back_cpu_ms", "taken back", ".2f", "each"),
         ("logout_cpu_ms", "logged out", ".2f", "each"), ("logout_adm_cpu_ms", "iscsiadm's", ".3f", "each"))
GROWS = ("login_cpu_ms", "resident_kib", "idle_percent", *(name for name, _, _, _ in COSTS))


def rows_of(cells, what):
    return [cell for cell in cells if cell["of"] == what]


def growth(cell, before, figure):
    """What one costs here, by what one cost in the row before: 1 where the sum grows as the number does."""
    if before is None or cell.get(figure) is None or before.get(figure) is None:
        return None
    kind = next(kind for name, _, _, kind in COLUMNS + COSTS if name == figure)
    by_number = cell["count"] / before["count"] if kind == "all" else 1
    return divide(cell[figure], before[figure] * by_number)


def text_of(value, form):
    if form == "interval":
        return "-" if value is None else f"{value[0]:.3f} to {value[1]:.3f}"
    return number(value, form)


def table(title, rows, wanted):
    """Title, headings and rows of texts; of the figures that there are."""
    columns = [column for column in wanted if any(column[0] in row for row in rows)]
    headings = [title]
    for name, heading, _, _ in columns:
        headings += [heading, "×"] if name in GROWS else [heading]
    out, before = [], None
    for row in rows:
        line = [f"{row['count']:,}"]
        for name, _, form, _ in columns:
            line.append(text_of(row.get(name), form))
            if name in GROWS:
                line.append(number(growth(row, before, name)))
        out.append([*line, number(row["load"], ".1f")])
        before = row
    return title, [*headings, "load"], out


def tables(cells):
    """Of each kind that was measured, what it takes to have them, and what each costs then."""
    for what, title in TITLES.items():
        rows = rows_of(cells, what)
        if rows:
            yield table(title, rows, COLUMNS)
            if any(name in row for row in rows for name, _, _, _ in COSTS):
                yield table(f"{title}: CPU of each, ms", rows, COSTS)
