//! Rows in memory, column by column: the output of readers and the input of the encoder.

/// Named columns of equal length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// How many rows every column has.
    pub rows: usize,
    /// Columns in the order of the data.
    pub columns: Vec<(String, Column)>,
}

impl Table {
    /// The column called `name`.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|(n, _)| n == name).map(|(_, c)| c)
    }

    /// Approximate bytes in memory.
    pub fn bytes(&self) -> u64 {
        self.columns.iter().map(|(_, column)| column.bytes()).sum()
    }

    /// The rows `rows`, in this order.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        Self {
            rows: rows.len(),
            columns: self.columns.iter().map(|(name, c)| (name.clone(), c.select(rows))).collect(),
        }
    }
}

/// The values of one column. A missing number is NaN; infinite values never occur.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Numbers.
    Number(Vec<f64>),
    /// Timestamps as Unix seconds.
    Timestamp(Vec<f64>),
    /// Booleans.
    Boolean(Vec<Option<bool>>),
    /// Names, as written in the data.
    Category(Vec<Option<Box<str>>>),
    /// Class labels as JSON, in the type and spelling of the data.
    Labels(Vec<Option<Box<str>>>),
    /// Free text.
    Text(Vec<Option<Box<str>>>),
    /// Lists of `width` numbers, row-major `[rows, width]`; a missing row is all NaN. Images are
    /// decoded to this form with `shape` `[height, width]` or `[height, width, channels]`, 0–255.
    Vector {
        /// Numbers a row.
        width: usize,
        /// Shape when it is more than a list.
        shape: Option<Vec<usize>>,
        /// `[rows, width]`.
        values: Vec<f32>,
    },
    /// Series: row `r` holds steps `offsets[r]..offsets[r + 1]`, each of `channels` numbers.
    Series {
        /// Numbers a step.
        channels: usize,
        /// `[rows + 1]`, in steps.
        offsets: Vec<usize>,
        /// `[steps, channels]`.
        values: Vec<f32>,
    },
    /// Lists of strings (the sentences of a story): row `r` holds `offsets[r]..offsets[r + 1]`.
    Strings {
        /// `[rows + 1]`, in strings.
        offsets: Vec<usize>,
        /// All strings, row after row.
        values: Vec<Box<str>>,
    },
}

impl Column {
    /// How many rows it has.
    pub fn len(&self) -> usize {
        match self {
            Self::Number(v) | Self::Timestamp(v) => v.len(),
            Self::Boolean(v) => v.len(),
            Self::Category(v) | Self::Text(v) | Self::Labels(v) => v.len(),
            Self::Vector { width, values, .. } => values.len() / (*width).max(1),
            Self::Series { offsets, .. } | Self::Strings { offsets, .. } => offsets.len().saturating_sub(1),
        }
    }

    /// Some rows, in this order.
    pub fn select(&self, rows: &[usize]) -> Self {
        fn pick<T: Clone>(values: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().map(|&row| values[row].clone()).collect()
        }
        fn spans<T: Clone>(offsets: &[usize], each: usize, values: &[T], rows: &[usize]) -> (Vec<usize>, Vec<T>) {
            let (mut ends, mut picked) = (vec![0], Vec::new());
            for &row in rows {
                picked.extend_from_slice(&values[offsets[row] * each..offsets[row + 1] * each]);
                ends.push(ends[ends.len() - 1] + offsets[row + 1] - offsets[row]);
            }
            (ends, picked)
        }
        match self {
            Self::Number(v) => Self::Number(pick(v, rows)),
            Self::Timestamp(v) => Self::Timestamp(pick(v, rows)),
            Self::Boolean(v) => Self::Boolean(pick(v, rows)),
            Self::Category(v) => Self::Category(pick(v, rows)),
            Self::Labels(v) => Self::Labels(pick(v, rows)),
            Self::Text(v) => Self::Text(pick(v, rows)),
            Self::Vector { width, shape, values } => {
                let values = rows.iter().flat_map(|&row| &values[row * width..(row + 1) * width]).copied().collect();
                Self::Vector { width: *width, shape: shape.clone(), values }
            }
            Self::Series { channels, offsets, values } => {
                let (offsets, values) = spans(offsets, *channels, values, rows);
                Self::Series { channels: *channels, offsets, values }
            }
            Self::Strings { offsets, values } => {
                let (offsets, values) = spans(offsets, 1, values, rows);
                Self::Strings { offsets, values }
            }
        }
    }

    /// Approximate bytes in memory.
    pub fn bytes(&self) -> u64 {
        // A string on the heap takes its own bytes and the allocator's.
        let text = |text: &str| text.len().next_multiple_of(16) as u64 + 16;
        match self {
            Self::Number(v) | Self::Timestamp(v) => v.len() as u64 * 8,
            Self::Boolean(v) => v.len() as u64,
            Self::Category(v) | Self::Labels(v) | Self::Text(v) => {
                v.iter().map(|t| 16 + t.as_deref().map_or(0, text)).sum()
            }
            Self::Vector { values, .. } => values.len() as u64 * 4,
            Self::Series { offsets, values, .. } => offsets.len() as u64 * 8 + values.len() as u64 * 4,
            Self::Strings { offsets, values } => {
                offsets.len() as u64 * 8 + values.iter().map(|t| 16 + text(t)).sum::<u64>()
            }
        }
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
