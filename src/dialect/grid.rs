//! Tables in boxes, as the tools of Python draw them.

/// How the cells of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    /// At the left.
    Left,
    /// In the middle; what does not divide stands at the right.
    Center,
    /// At the right.
    Right,
}

/// The characters of a line: its left end, its fill, its crossings, its right end.
type Line = [char; 4];

/// The lines of a box.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    top: Line,
    below_header: Line,
    between: Option<Line>,
    bottom: Line,
    /// What stands between the cells of the header, and between those of other rows.
    bars: [char; 2],
    /// Whether there is a space between the cells and the box at its sides.
    padded: bool,
}

/// Thin lines, none between rows.
pub(super) const LIGHT: Style = Style {
    top: ['┌', '─', '┬', '┐'],
    below_header: ['├', '─', '┼', '┤'],
    between: None,
    bottom: ['└', '─', '┴', '┘'],
    bars: ['│', '│'],
    padded: true,
};

/// Thick lines around the header, thin ones below it and between the groups that [`RULE`] separates.
pub(super) const HEAVY: Style = Style {
    top: ['┏', '━', '┳', '┓'],
    below_header: ['┡', '━', '╇', '┩'],
    between: None,
    bottom: ['└', '─', '┴', '┘'],
    bars: ['┃', '│'],
    padded: false,
};

/// A row that is a line.
pub(super) const RULE: &str = "\u{0}";

/// Double lines around the header and at the bottom, thin lines between rows.
pub(super) const FANCY: Style = Style {
    top: ['╒', '═', '╤', '╕'],
    below_header: ['╞', '═', '╪', '╡'],
    between: Some(['├', '─', '┼', '┤']),
    bottom: ['╘', '═', '╧', '╛'],
    bars: ['│', '│'],
    padded: true,
};

/// A table with a line end after each line. The first of `rows` is the header, which makes its column `room`
/// characters wider than itself at least; the last of `aligns` is that of all further columns.
pub(super) fn table(style: &Style, aligns: &[Align], rows: &[Vec<String>], room: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |text: &String| if text == RULE { 0 } else { text.chars().count() };
    let header = rows.first();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(wide).max();
        let least =
            header.and_then(|header| header.get(column)).map_or(0, |cell| wide(cell) + room);
        cells.unwrap_or(0).max(least)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let pads = |column: usize| {
        let at_side = |is: bool| usize::from(style.padded || !is);
        (at_side(column == 0), at_side(column + 1 == columns))
    };
    let line = |[left, fill, cross, right]: Line| {
        let part = |(column, width): (usize, &usize)| {
            let (before, after) = pads(column);
            fill.to_string().repeat(before + width + after)
        };
        let parts: Vec<String> = widths.iter().enumerate().map(part).collect();
        format!("{left}{}{right}\n", parts.join(&cross.to_string()))
    };
    let mut out = line(style.top);
    for (i, row) in rows.iter().enumerate() {
        match i {
            0 => {}
            1 => out += &line(style.below_header),
            _ => out += &style.between.map(line).unwrap_or_default(),
        }
        if row.first().is_some_and(|cell| cell == RULE) {
            out += &line(['├', '─', '┼', '┤']);
            continue;
        }
        let bar = style.bars[usize::from(i > 0)];
        out.push(bar);
        for (column, &width) in widths.iter().enumerate() {
            let cell = row.get(column).map_or("", String::as_str);
            let align = aligns.get(column).or(aligns.last()).copied().unwrap_or(Align::Left);
            let (before, after) = pads(column);
            let cell = match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Center => format!("{cell:^width$}"),
                Align::Right => format!("{cell:>width$}"),
            };
            out += &format!("{}{cell}{}{bar}", " ".repeat(before), " ".repeat(after));
        }
        out.push('\n');
    }
    out + &line(style.bottom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_as_their_columns_say() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["Name", "Value", "N"]), row(["a", "1.5", "10"]), row(["b", "2", "7"])];
        let aligns = [Align::Left, Align::Right, Align::Center];
        assert_eq!(
            table(&LIGHT, &aligns, &rows, 0),
            "┌──────┬───────┬────┐\n\
             │ Name │ Value │ N  │\n\
             ├──────┼───────┼────┤\n\
             │ a    │   1.5 │ 10 │\n\
             │ b    │     2 │ 7  │\n\
             └──────┴───────┴────┘\n"
        );
        assert_eq!(
            table(&FANCY, &aligns, &rows, 2),
            "╒════════╤═════════╤═════╕\n\
             │ Name   │   Value │  N  │\n\
             ╞════════╪═════════╪═════╡\n\
             │ a      │     1.5 │ 10  │\n\
             ├────────┼─────────┼─────┤\n\
             │ b      │       2 │  7  │\n\
             ╘════════╧═════════╧═════╛\n"
        );
    }
}
