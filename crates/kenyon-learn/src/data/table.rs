//! Rows in memory, column by column: what readers make and the encoder takes.

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
}

/// The values of one column. A missing number is NaN; infinite values never get in.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Numbers.
    Number(Vec<f64>),
    /// Moments as Unix seconds.
    Timestamp(Vec<f64>),
    /// Truth values.
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

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
