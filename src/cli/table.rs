//! Tables of plain text whose columns align.

use std::fmt;

/// Rows of cells below their names.
#[derive(Debug, Default)]
pub(super) struct TextTable {
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// A table with columns of these names.
    pub(super) fn new(names: &[&str]) -> Self {
        let mut table = Self::default();
        table.push(names.iter().map(|&name| name.to_owned()));
        table
    }

    /// Appends a row.
    pub(super) fn push(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        widths
    }
}

impl fmt::Display for TextTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for (at, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths);
            let cells: Vec<String> = cells
                .map(|(cell, &width)| format!("{cell:<width$}"))
                .collect();
            if at > 0 {
                f.write_str("\n")?;
            }
            f.write_str(cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_have_no_blanks_at_their_ends() {
        let mut table = TextTable::new(&["a", "long name", "c"]);
        table.push(["first".to_owned(), "é".to_owned(), String::new()]);
        table.push(["x".to_owned(), String::new(), "z".to_owned()]);
        let expected = "a      long name  c\nfirst  é\nx                 z";
        assert_eq!(table.to_string(), expected);
    }
}
