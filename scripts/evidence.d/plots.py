"""Lines over logarithmic axes, as SVG."""

import math
from html import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 48
# Told apart also without colours: Okabe and Ito's palette (jfly.uni-koeln.de/color).
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]


def ticks(low, high):
    """1, 2 and 5 of each power of ten in between."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [digit * 10**power for power in powers for digit in (1, 2, 5) if low <= digit * 10**power <= high]


def plot(title, x_words, y_words, series):
    """A plot of `series`: points (x, y) by name, all above 0."""
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    x_low, x_high, y_low, y_high = min(xs) / 1.25, max(xs) * 1.25, min(ys) / 1.4, max(ys) * 1.4

    def at_x(x):
        return LEFT + math.log(x / x_low) / math.log(x_high / x_low) * (WIDTH - LEFT - RIGHT)

    def at_y(y):
        return HEIGHT - BOTTOM - math.log(y / y_low) / math.log(y_high / y_low) * (HEIGHT - TOP - BOTTOM)

    def text(x, y, words, anchor="middle", size=12, more=""):
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#1F2328"{more}>{escape(words)}</text>'

    parts = [text(WIDTH / 2, 22, title, size=14)]
    for x in sorted(set(xs)):
        parts.append(f'<line x1="{at_x(x):.1f}" x2="{at_x(x):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#D0D7DE"/>')
        parts.append(text(at_x(x), HEIGHT - BOTTOM + 16, f"{x:,}"))
    for y in ticks(y_low, y_high):
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at_y(y):.1f}" y2="{at_y(y):.1f}" stroke="#D0D7DE"/>')
        parts.append(text(LEFT - 6, at_y(y) + 4, f"{y:,g}", "end"))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_words))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(text(16, middle, y_words, more=f' transform="rotate(-90 16 {middle:.1f})"'))
    legend_height = 17 * len(series) + 8
    parts.append(f'<rect x="{LEFT + 4}" y="{TOP}" width="230" height="{legend_height}" fill="#FFFFFF" fill-opacity="0.8"/>')
    for index, (name, points) in enumerate(series.items()):
        color = COLORS[index % len(COLORS)]
        line = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3.5" fill="{color}"/>' for x, y in points]
        parts.append(f'<rect x="{LEFT + 10}" y="{TOP + 8 + 17 * index}" width="18" height="4" fill="{color}"/>')
        parts.append(text(LEFT + 34, TOP + 14 + 17 * index, name, "start"))
    return "\n".join(parts)


def grid(plots):
    """One picture of several plots, two in a row."""
    width, height = 2 * WIDTH, HEIGHT * math.ceil(len(plots) / 2)
    parts = [f'<g transform="translate({WIDTH * (index % 2)} {HEIGHT * (index // 2)})">\n{one}\n</g>' for index, one in enumerate(plots)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif">'
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="#FFFFFF"/>', *parts, "</svg>", ""])
