"""Mixed tables made from a seed, for the scripts beside this file: numbers, names, truth values, dates, durations,
whole numbers of 64 bits, missing values."""

import random

CITIES = ["Łódź", "Kraków", "Wien", "São Paulo"]


def mixed(seed, rows, names_like_missing=True):
    """Rows of one of five tables.

    Some names are words for "missing" where these stand unquoted in a file: `names_like_missing` says whether they occur.
    """
    rng = random.Random(seed)
    columns = {
        "size": lambda: round(rng.uniform(20, 150), 2),
        "count": lambda: rng.randrange(0, 40),
        "city": lambda: rng.choice(CITIES + ["none", "NA"] * (names_like_missing and seed % 2 == 0)),
        "garden": lambda: rng.random() < 0.5,
        "built": lambda: f"19{rng.randrange(50, 99)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}",
        "walk": lambda: f"{rng.randrange(0, 2):02}:{rng.randrange(60):02}:{rng.randrange(60):02}",
        "big": lambda: 9_007_199_254_740_993 + rng.randrange(3),
    }
    names = list(columns) if seed else ["size", "count"]
    out = []
    for _ in range(rows):
        row = {name: columns[name]() for name in names}
        if rng.random() < 0.05:
            row[rng.choice(names)] = None
        score = (row.get("size") or 80) / 40 + (row["count"] or 0) / 20 + rng.gauss(0, 0.3)
        score += 1.0 if row.get("garden") else 0.0
        score += 1.5 if row.get("city") == "Wien" else 0.0
        targets = [
            round(score * 1000, 1),
            "high" if score > 4 else "low",
            score > 4,
            9_007_199_254_740_990 + int(min(max(score - 2, 0), 3)),
            ["none", "mild", "severe"][int(min(max(score - 3, 0), 2))],
        ]
        out.append({**row, "target": targets[seed % 5]})
    return out
