//! Rows in memory, column by column: the output of readers and the input of the encoder.

use serde::{Deserialize, Serialize};

/// Named columns of equal length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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

    /// Appends the rows of a table with the same columns; whether it is one.
    #[must_use]
    pub fn append(&mut self, other: &Self) -> bool {
        self.rows += other.rows;
        let same = |((name, column), (other, more)): (&mut (String, Column), &(String, Column))| {
            name == other && column.append(more)
        };
        self.columns.len() == other.columns.len() && self.columns.iter_mut().zip(&other.columns).all(same)
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

/// The values of one column. A missing number is NaN; infinite values never get in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Pictures as PNG or JPEG in base64, for a pretrained encoder.
    Picture(Vec<Option<Box<str>>>),
}

impl Column {
    /// How many rows it has.
    pub fn len(&self) -> usize {
        match self {
            Self::Number(v) | Self::Timestamp(v) => v.len(),
            Self::Boolean(v) => v.len(),
            Self::Category(v) | Self::Text(v) | Self::Labels(v) | Self::Picture(v) => v.len(),
            Self::Vector { width, values, .. } => values.len() / (*width).max(1),
            Self::Series { offsets, .. } | Self::Strings { offsets, .. } => offsets.len().saturating_sub(1),
        }
    }

    /// Some rows, in this order.
    pub fn select(&self, rows: &[usize]) -> Self {
        fn gather<T: Clone>(values: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().map(|&row| values[row].clone()).collect()
        }
        fn spans<T: Clone>(offsets: &[usize], each: usize, values: &[T], rows: &[usize]) -> (Vec<usize>, Vec<T>) {
            let (mut ends, mut gathered) = (vec![0], Vec::new());
            for &row in rows {
                gathered.extend_from_slice(&values[offsets[row] * each..offsets[row + 1] * each]);
                ends.push(ends[ends.len() - 1] + offsets[row + 1] - offsets[row]);
            }
            (ends, gathered)
        }
        match self {
            Self::Number(v) => Self::Number(gather(v, rows)),
            Self::Timestamp(v) => Self::Timestamp(gather(v, rows)),
            Self::Boolean(v) => Self::Boolean(gather(v, rows)),
            Self::Category(v) => Self::Category(gather(v, rows)),
            Self::Labels(v) => Self::Labels(gather(v, rows)),
            Self::Text(v) => Self::Text(gather(v, rows)),
            Self::Picture(v) => Self::Picture(gather(v, rows)),
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

    /// Appends the rows of a column of the same kind and width; whether it is one.
    pub fn append(&mut self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) | (Self::Timestamp(a), Self::Timestamp(b)) => a.extend_from_slice(b),
            (Self::Boolean(a), Self::Boolean(b)) => a.extend_from_slice(b),
            (Self::Category(a), Self::Category(b))
            | (Self::Labels(a), Self::Labels(b))
            | (Self::Text(a), Self::Text(b))
            | (Self::Picture(a), Self::Picture(b)) => a.extend_from_slice(b),
            (Self::Vector { width, values, .. }, Self::Vector { width: other, values: more, .. }) if width == other => {
                values.extend_from_slice(more);
            }
            (
                Self::Series { channels, offsets, values },
                Self::Series { channels: other, offsets: ends, values: more },
            ) if channels == other => {
                let before = offsets.last().copied().unwrap_or(0);
                offsets.extend(ends.iter().skip(1).map(|end| end + before));
                values.extend_from_slice(more);
            }
            (Self::Strings { offsets, values }, Self::Strings { offsets: ends, values: more }) => {
                let before = offsets.last().copied().unwrap_or(0);
                offsets.extend(ends.iter().skip(1).map(|end| end + before));
                values.extend_from_slice(more);
            }
            _ => return false,
        }
        true
    }

    /// Whether its parts fit each other, for columns that come from elsewhere.
    pub fn is_consistent(&self) -> bool {
        let ordered = |offsets: &[usize], end: usize| {
            offsets.first() == Some(&0) && offsets.is_sorted() && offsets.last() == Some(&end)
        };
        match self {
            Self::Vector { width, shape, values } => {
                let elements = shape.as_ref().map(|s| s.iter().try_fold(1usize, |n, side| n.checked_mul(*side)));
                *width > 0 && values.len() % width == 0 && elements.is_none_or(|n| n == Some(*width))
            }
            Self::Series { channels, offsets, values } => {
                *channels > 0 && values.len() % channels == 0 && ordered(offsets, values.len() / channels)
            }
            Self::Strings { offsets, values } => ordered(offsets, values.len()),
            _ => true,
        }
    }

    /// Bytes it takes in memory, about.
    pub fn bytes(&self) -> u64 {
        // A string on the heap takes its own bytes and the allocator's.
        let text = |text: &str| text.len().next_multiple_of(16) as u64 + 16;
        match self {
            Self::Number(v) | Self::Timestamp(v) => v.len() as u64 * 8,
            Self::Boolean(v) => v.len() as u64,
            Self::Category(v) | Self::Labels(v) | Self::Text(v) | Self::Picture(v) => {
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
